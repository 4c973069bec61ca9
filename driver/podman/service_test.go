//go:build linux

package podman

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// privateService is a Podman service of a test's own, to be killed and started again. Its settings are those of CONTAINERS_CONF.
type privateService struct {
	t      *testing.T
	dir    string
	root   string // of its storage
	cmd    *exec.Cmd
	socket *net.UnixListener
}

// newService starts a service that has the images of the suite. If size is not empty, its storage is a disk of that size.
func newService(t *testing.T, size string) *privateService {
	t.Helper()
	dir, err := os.MkdirTemp("", "wp") // a short path: those of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	s := &privateService{t: t, dir: dir, root: filepath.Join(dir, "root")}
	if err := os.Mkdir(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		_ = s.podman("rm", "-f", "-a", "-t", "0").Run()
		_ = syscall.Unmount(filepath.Join(s.root, "overlay"), syscall.MNT_DETACH)
		_ = syscall.Unmount(s.root, syscall.MNT_DETACH)
		os.RemoveAll(dir)
	})
	if size != "" {
		if err := syscall.Mount("small", s.root, "tmpfs", 0, "size="+size); err != nil {
			t.Fatalf("mount a small disk (this test needs root): %v", err)
		}
	}
	s.start()
	images, err := drivertest.BuildImages(t.Context(), drivertest.ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	load := s.podman("load", "-q")
	load.Stdin = images
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("podman load: %v\n%s", err, out)
	}
	return s
}

func (s *privateService) path() string { return filepath.Join(s.dir, "p.sock") }

// podman is a command on the service's storage.
func (s *privateService) podman(args ...string) *exec.Cmd {
	in := func(name string) string { return filepath.Join(s.dir, name) }
	own := []string{"--root", s.root, "--runroot", in("run"), "--tmpdir", in("tmp"), "--network-config-dir", in("net"), "--storage-driver", "overlay"}
	cmd := exec.Command("podman", append(own, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONTAINER_HOST=") }) // it would ask that service
	return cmd
}

// start makes the socket and hands it on, so that whoever connects waits until the service takes the connection.
func (s *privateService) start() {
	s.t.Helper()
	var err error
	if s.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: s.path(), Net: "unix"}); err != nil {
		s.t.Fatal(err)
	}
	file, err := s.socket.File()
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	run := s.podman("system", "service", "--time=0")
	s.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}, run.Args...)...)
	s.cmd.Env = run.Env
	s.cmd.ExtraFiles = []*os.File{file}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// end stops the service with a signal. Nobody can connect any more, until it is started again.
func (s *privateService) end(signal syscall.Signal) {
	if s.socket == nil {
		return
	}
	_ = s.socket.Close() // which removes the file
	_ = s.cmd.Process.Signal(signal)
	_ = s.cmd.Wait()
	s.socket = nil
}

// driver returns a driver value for the service.
func (s *privateService) driver() *Driver {
	s.t.Helper()
	d, err := New(Config{Host: "unix://" + s.path(), Owner: "survive", Patience: time.Minute})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return d
}

// program is a task that runs the suite's program.
func program(name string, args ...string) driver.TaskSpec {
	return driver.TaskSpec{
		Name: name, Network: driver.Network{Mode: driver.NetworkNone},
		Container: driver.Container{Image: drivertest.Image, Pull: driver.PullNever, Args: args},
	}
}

// The first thing that a service is asked for is a sandbox: image and network of it are missing.
func TestSandboxComesFirst(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	box, err := d.CreateSandbox(t.Context(), driver.SandboxSpec{Name: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveSandbox(t.Context(), box); err != nil {
		t.Error(err)
	}
	wantNothing(t, d)
}
