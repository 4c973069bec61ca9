//go:build linux

// Withpodman runs a command with a Podman service of its own at hand, whose address is in CONTAINER_HOST, and whose settings
// are in CONTAINERS_CONF.
//
//	withpodman [-rootless] [-bin DIR] [-lock NAME] [-load ARCHIVE]… COMMAND [ARG…]
//
// It is made to be started by scripts/with-podman, in namespaces of their own, with which all that it starts ends. The
// service has its own storage, sockets and settings, in a directory that is removed at the end, or by a later run if this one
// is killed; nothing of the machine's own Podman is read or changed. A Docker daemon stays in reach. It needs root, also for a
// service without.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// exitTrouble is the exit code of withpodman itself; otherwise it exits as the command does.
const exitTrouble = 125

type options struct {
	rootless bool
	bin      string
	lock     string
	archives []string
}

func main() {
	var o options
	flag.BoolVar(&o.rootless, "rootless", false, "run the service as nobody")
	flag.StringVar(&o.bin, "bin", "", "`directory` with podman (default: from PATH)")
	flag.StringVar(&o.lock, "lock", "", "wait until no other run holds the lock of this `name`")
	flag.Func("load", "load the images of this docker-archive `file`", func(s string) error {
		o.archives = append(o.archives, s)
		return nil
	})
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpodman [-rootless] [-bin DIR] [-lock NAME] [-load ARCHIVE]… COMMAND [ARG…]")
		os.Exit(2)
	}
	code, err := run(o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpodman:", err)
		code = exitTrouble
	}
	os.Exit(code)
}

func run(o options, command []string) (int, error) {
	if o.bin != "" {
		if err := os.Setenv("PATH", o.bin+":"+os.Getenv("PATH")); err != nil {
			return 0, err
		}
	}
	cache := os.Getenv("WITHPODMAN_DIR")
	if o.lock != "" {
		lock, err := hold(filepath.Join(cache, o.lock+".lock"), true)
		if err != nil {
			return 0, err
		}
		defer lock.Close()
	}
	dir, release, err := ownDirectory(cache)
	if err != nil {
		return 0, err
	}
	defer release()
	if err := ownMachine(dir); err != nil {
		return 0, err
	}
	s := service{dir: dir}
	if o.rootless {
		if err := s.becomeNobody(); err != nil {
			return 0, err
		}
	}
	if err := s.configure(); err != nil {
		return 0, err
	}
	for _, a := range o.archives {
		if err := s.load(a); err != nil {
			return 0, err
		}
	}
	stop, err := s.start()
	if err != nil {
		return 0, err
	}
	defer stop()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CONTAINER_HOST=unix://"+s.socket(), "CONTAINERS_CONF="+s.conf)
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	} else if err != nil {
		return 0, err
	}
	return 0, nil
}

// hold takes the lock of a file, and waits for it if it may. The kernel releases it when this process dies.
func hold(name string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(f.Fd()), how)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ownDirectory makes a directory for this run, and removes those of runs that were killed. What is in them was mounted in a
// namespace that is gone.
func ownDirectory(cache string) (dir string, release func(), err error) {
	old, err := filepath.Glob(filepath.Join(cache, "podman-*", "lock"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range old {
		if f, err := hold(name, false); err == nil {
			_ = os.RemoveAll(filepath.Dir(name))
			f.Close()
		}
	}
	if dir, err = os.MkdirTemp(cache, "podman-"); err != nil {
		return "", nil, err
	}
	lock, err := hold(filepath.Join(dir, "lock"), true)
	if err != nil {
		return "", nil, err
	}
	return dir, func() {
		_ = syscall.Unmount(filepath.Join(dir, dockerSocket), 0) // if it is there, it would keep its directory
		_ = os.RemoveAll(dir)
		lock.Close()
	}, nil
}

// dockerSocket is the name, in the directory of a run, under which the socket of a Docker daemon in /run is reached.
const dockerSocket = "docker.sock"

// ownMachine gives the service a /run, shared memory, leases of addresses and a loopback device of its own: namespaces are what the caller has made. The socket of a
// Docker daemon in /run gets another place.
func ownMachine(dir string) error {
	docker := strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///run/docker.sock"), "unix://")
	if _, err := os.Stat(docker); err == nil {
		socket := filepath.Join(dir, dockerSocket)
		if err := os.WriteFile(socket, nil, 0o600); err != nil {
			return err
		}
		if err := syscall.Mount(docker, socket, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", socket, err)
		}
		if err := os.Setenv("DOCKER_HOST", "unix://"+socket); err != nil {
			return err
		}
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// Podman's locks are of the whole machine, and those of containers that were not removed are never free again: 2048 are soon gone.
	if err := syscall.Mount("tmpfs", "/dev/shm", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	// Whenever somebody asks what it is, Podman asks four times which packages its helpers come from. That takes longer than the rest.
	if _, err := os.Stat("/usr/bin/dpkg-query"); err == nil {
		if err := syscall.Mount("/bin/false", "/usr/bin/dpkg-query", "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over dpkg-query: %w", err)
		}
	}
	// Addresses that CNI has given away.
	const leases = "/var/lib/cni"
	if err := os.MkdirAll(leases, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", leases, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", leases, err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback device: %w: %s (apt-get install iproute2)", err, out)
	}
	return nil
}
