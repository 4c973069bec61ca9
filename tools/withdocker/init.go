//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initVariable carries an initConfig to the first process of the namespaces.
const initVariable = "WITHDOCKER_INIT"

const (
	socket       = "/run/docker.sock"
	notifySocket = "/run/withdocker-notify.sock"
	lockFD       = 3
	startLimit   = time.Minute
	stopLimit    = 20 * time.Second
)

// initConfig says what the first process of the namespaces has to do.
type initConfig struct {
	Dir     string   // of this run
	Dockerd string   // path; empty if the command is all there is to run
	User    string   // uid:gid for the command; empty is ours
	Command []string // argument vector
}

// initMain is process 1: it sets the namespaces up, starts the daemon, runs the command, and reaps whatever
// is orphaned. When it ends the kernel ends everything else.
func initMain() int {
	var cfg initConfig
	err := json.Unmarshal([]byte(os.Getenv(initVariable)), &cfg)
	os.Unsetenv(initVariable)
	if err == nil {
		err = ownProcesses()
	}
	supervise := superviseCommand
	if err == nil && cfg.Dockerd != "" {
		syscall.CloseOnExec(lockFD)
		supervise, err = superviseAll, ownMachine()
	}
	if err != nil {
		say("%v", err)
		return exitTrouble
	}
	code, err := supervise(cfg)
	if err != nil {
		say("%v", err)
		return exitTrouble
	}
	return code
}

// ownProcesses makes the PID and mount namespaces usable.
func ownProcesses() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// ownMachine makes room for a daemon: an empty /run, and a loopback device.
func ownMachine() error {
	// Hides the machine's own daemons, containerd and systemd among them, which know nothing of our processes.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return loopbackUp()
}

func loopbackUp() error {
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
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	return nil
}

// superviseCommand runs the command alone, and returns its exit code.
func superviseCommand(cfg initConfig) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	command, err := startCommand(cfg, os.Environ())
	if err != nil {
		return 0, err
	}
	return awaitCommand(reap(), signals, command, 0, "")
}

// superviseAll starts the daemon, then the command, and returns the command's exit code.
func superviseAll(cfg initConfig) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	ready, err := listenReady()
	if err != nil {
		return 0, err
	}
	dockerd, err := startDockerd(cfg)
	if err != nil {
		return 0, err
	}
	ends := reap()
	if err := awaitReady(ready, ends, signals, dockerd, cfg.Dir); err != nil {
		return 0, err
	}
	say("the daemon is ready")
	command, err := startCommand(cfg, environ("DOCKER_HOST=unix://"+socket))
	if err != nil {
		return 0, err
	}
	code, err := awaitCommand(ends, signals, command, dockerd, cfg.Dir)
	if err != nil {
		return 0, err
	}
	stopDockerd(ends, dockerd)
	return code, nil
}

func startDockerd(cfg initConfig) (int, error) {
	group := "0"
	if _, gid, ok := strings.Cut(cfg.User, ":"); ok {
		group = gid
	}
	settings := filepath.Join(cfg.Dir, "daemon.json") // not the machine's own, whose settings are not meant for us
	if err := os.WriteFile(settings, []byte("{}"), 0o644); err != nil {
		return 0, err
	}
	log, err := os.Create(logFile(cfg.Dir))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return start([]string{cfg.Dockerd, "--config-file=" + settings, "--host=unix://" + socket, "--group=" + group,
		"--data-root=" + filepath.Join(cfg.Dir, "data"), "--exec-root=/run/docker", "--pidfile=/run/docker.pid",
		"--exec-opt=native.cgroupdriver=cgroupfs", "--cgroup-parent=/" + cgroupParent(cfg.Dir), "--userland-proxy=false"},
		&os.ProcAttr{
			Env: environ("NOTIFY_SOCKET="+notifySocket,
				"PATH="+filepath.Dir(cfg.Dockerd)+":"+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"),
			Files: []*os.File{null, log, log},
		})
}

func startCommand(cfg initConfig, env []string) (int, error) {
	path, err := exec.LookPath(cfg.Command[0])
	if err != nil {
		return 0, err
	}
	attr := &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{},
	}
	if cfg.User != "" {
		var c syscall.Credential
		if _, err := fmt.Sscanf(cfg.User, "%d:%d", &c.Uid, &c.Gid); err != nil {
			return 0, fmt.Errorf("-user %q: %w", cfg.User, err)
		}
		attr.Sys.Credential = &c
	}
	return start(append([]string{path}, cfg.Command[1:]...), attr)
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

// environ is our environment with the given variables in place of those of the same name.
func environ(set ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc(set, func(s string) bool {
			name, _, _ := strings.Cut(s, "=")
			return strings.HasPrefix(v, name+"=")
		})
	})
	return append(env, set...)
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

func awaitReady(ready <-chan error, ends <-chan end, signals <-chan os.Signal, dockerd int, dir string) error {
	limit := time.After(startLimit)
	for {
		select {
		case err := <-ready:
			return err
		case e := <-ends:
			if e.pid == dockerd {
				return daemonError(dir, "ended while it started (exit code %d)", exitCode(e.status))
			}
		case <-limit:
			return daemonError(dir, "is not ready after %s", startLimit)
		case s := <-signals:
			return fmt.Errorf("%s while the daemon started", s)
		}
	}
}

func awaitCommand(ends <-chan end, signals <-chan os.Signal, command, dockerd int, dir string) (int, error) {
	for {
		select {
		case e := <-ends:
			switch e.pid {
			case command:
				return exitCode(e.status), nil
			case dockerd:
				return 0, daemonError(dir, "ended while the command ran (exit code %d)", exitCode(e.status))
			}
		case s := <-signals:
			if s != os.Interrupt {
				syscall.Kill(command, s.(syscall.Signal))
			}
		}
	}
}

// stopDockerd gives the daemon time to put its state down; what does not end in time ends with the namespaces.
func stopDockerd(ends <-chan end, dockerd int) {
	syscall.Kill(dockerd, syscall.SIGTERM)
	limit := time.After(stopLimit)
	for {
		select {
		case e := <-ends:
			if e.pid == dockerd {
				return
			}
		case <-limit:
			say("the daemon did not stop within %s and is killed", stopLimit)
			return
		}
	}
}

// daemonError shows the end of the daemon's log: its directory is about to be removed.
func daemonError(dir, format string, args ...any) error {
	log, _ := os.ReadFile(logFile(dir))
	lines := strings.SplitAfter(string(log), "\n")
	tail := strings.Join(lines[max(0, len(lines)-15):], "")
	return fmt.Errorf("dockerd %s; the end of its log:\n%s", fmt.Sprintf(format, args...), tail)
}
