//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socket     = "/run/containerd/containerd.sock"
	notify     = "/run/withcontainerd-notify.sock"
	startLimit = time.Minute
	stopLimit  = 20 * time.Second
)

// initMain is process 1: it sets the namespaces up, starts the daemon, runs the command, and reaps whatever is
// orphaned. When it ends, the kernel ends everything else.
func initMain(dir string, command []string) (int, error) {
	syscall.CloseOnExec(3)
	if err := errors.Join(ownMachine(), hideState(dir)); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	ready, err := listenReady()
	if err != nil {
		return 0, err
	}
	daemon, err := startDaemon(dir)
	if err != nil {
		return 0, err
	}
	ends := reap()
	limit := time.After(startLimit)
	for waiting := true; waiting; {
		select {
		case err := <-ready:
			if err != nil {
				return 0, err
			}
			waiting = false
		case e := <-ends:
			if e.pid == daemon {
				return 0, daemonError(dir, "ended while it started (exit code %d)", exitCode(e.status))
			}
		case <-limit:
			return 0, daemonError(dir, "is not ready after %s", startLimit)
		case s := <-signals:
			return 0, fmt.Errorf("%s while the daemon started", s)
		}
	}
	return runBeside(dir, command, daemon, ends, signals)
}

// runBeside runs the command and then ends the daemon.
func runBeside(dir string, command []string, daemon int, ends <-chan end, signals <-chan os.Signal) (int, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return 0, err
	}
	pid, err := start(append([]string{path}, command[1:]...), &os.ProcAttr{
		Env: append(os.Environ(), environment(dir)...), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 0, err
	}
	for {
		select {
		case e := <-ends:
			switch e.pid {
			case daemon:
				return 0, daemonError(dir, "ended while the command ran (exit code %d)", exitCode(e.status))
			case pid:
				stopDaemon(ends, daemon)
				return exitCode(e.status), nil
			}
		case s := <-signals:
			if s != os.Interrupt {
				syscall.Kill(pid, s.(syscall.Signal))
			}
		}
	}
}

// environment leads the command to the daemon.
func environment(dir string) []string {
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o1777); err != nil {
		fmt.Fprintln(os.Stderr, "withcontainerd:", err)
	}
	return []string{
		"CONTAINERD_ADDRESS=" + socket, "CONTAINERD_CGROUP=/" + cgroup(dir), "CONTAINERD_RUN=" + dir, "TMPDIR=" + tmp,
		"WHARF_TEST_CONTAINERD=containerd://" + socket + "?cgroup=/" + cgroup(dir),
	}
}

// ownMachine makes the namespaces usable: own processes, an empty /run, a loopback device.
func ownMachine() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	docker, err := unix.OpenTree(unix.AT_FDCWD, dockerSocket, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		docker = -1
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := keep(docker, dockerSocket); err != nil {
		return fmt.Errorf("keep %s: %w", dockerSocket, err)
	}
	if err := ownSys(); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// wharfState is where the driver keeps volumes and logs, unless it is told otherwise.
const wharfState = "/var/lib/wharf"

// hideState mounts a directory of the run there. The mount point stays behind, empty.
func hideState(dir string) error {
	own := filepath.Join(dir, "wharf")
	if err := errors.Join(os.MkdirAll(own, 0o755), os.MkdirAll(wharfState, 0o755)); err != nil {
		return err
	}
	if err := syscall.Mount(own, wharfState, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", wharfState, err)
	}
	return nil
}

// dockerSocket is where the command still finds a Docker daemon that there was before.
const dockerSocket = "/run/docker.sock"

// keep puts a file back that was taken hold of before its directory was hidden; -1 is none.
func keep(tree int, file string) error {
	if tree < 0 {
		return nil
	}
	defer unix.Close(tree)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, file, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// ownSys shows the network devices of the new namespace in /sys, and the control groups as they were.
func ownSys() error {
	const groups, kept = "/sys/fs/cgroup", "/run/cgroup"
	if err := os.Mkdir(kept, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(groups, kept, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("keep %s: %w", groups, err)
	}
	if err := syscall.Mount("sysfs", "/sys", "sysfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := syscall.Mount(kept, groups, "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount %s: %w", groups, err)
	}
	return nil
}

// listenReady opens the socket to which the daemon says that it is ready (sd_notify(3)).
func listenReady() (<-chan error, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go func() {
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil || strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
				ready <- err
				return
			}
		}
	}()
	return ready, nil
}

func logFile(dir string) string { return filepath.Join(dir, "containerd.log") }

func startDaemon(dir string) (int, error) {
	path, err := exec.LookPath("containerd")
	if err != nil {
		return 0, err
	}
	log, err := os.Create(logFile(dir))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return start([]string{path, "--config", settingsFile(dir)}, &os.ProcAttr{
		Env: append(os.Environ(), "NOTIFY_SOCKET="+notify), Files: []*os.File{null, log, log},
	})
}

// stopDaemon gives the daemon time to put its state down; what does not end in time ends with the namespaces.
func stopDaemon(ends <-chan end, daemon int) {
	syscall.Kill(daemon, syscall.SIGTERM)
	limit := time.After(stopLimit)
	for {
		select {
		case e := <-ends:
			if e.pid == daemon {
				return
			}
		case <-limit:
			return
		}
	}
}

// daemonError shows the end of the daemon's log: its directory is about to be removed.
func daemonError(dir, format string, args ...any) error {
	log, _ := os.ReadFile(logFile(dir))
	lines := strings.SplitAfter(string(log), "\n")
	return fmt.Errorf("containerd %s; the end of its log:\n%s", fmt.Sprintf(format, args...), strings.Join(lines[max(0, len(lines)-15):], ""))
}

// start starts a process that reap, and no one else, waits for.
func start(argv []string, attr *os.ProcAttr) (pid int, err error) {
	p, err := os.StartProcess(argv[0], argv, attr)
	if err != nil {
		return 0, err
	}
	defer p.Release()
	return p.Pid, nil
}

// end is the end of a process.
type end struct {
	pid    int
	status syscall.WaitStatus
}

// reap waits for every child, its own and orphaned ones, and reports each.
func reap() <-chan end {
	ends := make(chan end)
	go func() {
		for {
			var s syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &s, 0, nil)
			if errors.Is(err, syscall.ECHILD) {
				return
			}
			if err == nil {
				ends <- end{pid, s}
			}
		}
	}()
	return ends
}
