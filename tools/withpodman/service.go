//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// service is a Podman service and where it has its things.
type service struct {
	dir  string
	uid  uint32 // 0, or nobody's
	conf string
}

// nobody is the user of a rootless service; he gets other user ids to give away than anybody has.
const (
	nobody = 65534
	subIDs = "nobody:1879048192:65536\n"
)

// becomeNobody makes what a service without root needs: a directory that its user may enter, ids, and devices.
func (s *service) becomeNobody() error {
	s.uid = nobody
	s.dir = "/mnt" // not in /run, which Podman hides from the networks of such a service
	if err := syscall.Mount("tmpfs", s.dir, "tmpfs", syscall.MS_NOSUID, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", s.dir, err)
	}
	for _, name := range []string{"/etc/subuid", "/etc/subgid"} {
		own := filepath.Join(s.dir, filepath.Base(name))
		if err := os.WriteFile(own, []byte(subIDs), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(own, name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w (apt-get install uidmap)", name, err)
		}
	}
	for name, number := range map[string]int{"/dev/net/tun": 10<<8 | 200, "/dev/fuse": 10<<8 | 229} {
		own := filepath.Join(s.dir, filepath.Base(name))
		if err := syscall.Mknod(own, syscall.S_IFCHR, number); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if err := os.Chmod(own, 0o666); err != nil {
			return err
		}
		if err := syscall.Mount(own, name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", name, err)
		}
	}
	for _, name := range []string{"", "home", "run"} {
		dir := filepath.Join(s.dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return err
		}
	}
	return nil
}

// conmonHere starts conmon where it should note that the kernel killed a process for want of memory. Before 5.0, Podman
// starts it in its own working directory, and reads the note in the container's (https://github.com/containers/conmon/issues/504).
const conmonHere = `#!/bin/sh
before=
for a; do
	[ "$before" = -b ] && cd "$a"
	before=$a
done
exec /usr/bin/conmon "$@"
`

// configure writes a containers.conf that asks for no more than this machine gives.
func (s *service) configure() error {
	limit := func(name string, which int) string {
		var l syscall.Rlimit
		if syscall.Getrlimit(which, &l) != nil || l.Max > 1<<20 {
			l.Max = 1 << 20
		}
		return fmt.Sprintf("%q", fmt.Sprintf("%s=%d:%d", name, l.Max, l.Max))
	}
	const nproc = 6 // RLIMIT_NPROC, which package syscall does not name
	conmon := filepath.Join(s.dir, "conmon")
	if err := os.WriteFile(conmon, []byte(conmonHere), 0o755); err != nil {
		return err
	}
	conf := fmt.Sprintf(`[containers]
default_ulimits = [%s, %s]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = [%q]
[network]
network_backend = "cni"
network_config_dir = %q
`, limit("nofile", syscall.RLIMIT_NOFILE), limit("nproc", nproc), conmon, s.networks())
	s.conf = filepath.Join(s.dir, "containers.conf")
	return os.WriteFile(s.conf, []byte(conf), 0o644)
}

// networks is where the service keeps its networks.
func (s *service) networks() string {
	if s.uid != 0 {
		return "" // in its home
	}
	return filepath.Join(s.dir, "networks")
}

func (s *service) socket() string { return filepath.Join(s.dir, "podman.sock") }

// podman is a command on the private storage.
func (s *service) podman(args ...string) *exec.Cmd {
	run := "/run"
	if s.uid != 0 {
		run = filepath.Join(s.dir, "run")
	}
	own := []string{"--root", filepath.Join(s.dir, "root"), "--runroot", run + "/podman-run", "--tmpdir", run + "/podman-tmp"}
	own = append(own, "--storage-driver", "overlay")
	cmd := exec.Command("podman", append(own, args...)...)
	s.as(cmd)
	return cmd
}

// as lets a command run in the service's directory and environment, and as its user.
func (s *service) as(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+s.conf)
	if s.uid != 0 {
		cmd.Env = append(cmd.Env, "HOME="+filepath.Join(s.dir, "home"), "XDG_RUNTIME_DIR="+filepath.Join(s.dir, "run"), "USER=nobody")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
}

func (s *service) load(archive string) error {
	f, err := os.Open(archive) // the user may not be allowed to
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := s.podman("load", "-q")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load %s: %w\n%s", archive, err, out)
	}
	return nil
}

// start starts the service. The socket is made here and handed on, so that whoever connects waits until the service takes
// the connection.
func (s *service) start() (stop func(), err error) {
	if s.uid != 0 {
		// A service that makes its user namespace itself can lose the socket over that.
		if out, err := s.podman("unshare", "true").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("podman unshare: %w\n%s", err, out)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket(), Net: "unix"})
	if err != nil {
		return nil, err
	}
	file, err := l.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	log, err := os.Create(filepath.Join(s.dir, "service.log"))
	if err != nil {
		return nil, err
	}
	service := s.podman("system", "service", "--time=0")
	if service.Err != nil {
		return nil, fmt.Errorf("%w: apt-get install podman", service.Err)
	}
	service = exec.Command("sh", append([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}, service.Args...)...)
	s.as(service)
	service.Stdout, service.Stderr = log, log
	service.ExtraFiles = []*os.File{file}
	if err := service.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = s.podman("rm", "-f", "-a", "-t", "0").Run()
		_ = service.Process.Signal(syscall.SIGTERM)
		_ = service.Wait()
		_ = l.Close()
		_ = syscall.Unmount(filepath.Join(s.dir, "root", "overlay"), syscall.MNT_DETACH)
	}, nil
}
