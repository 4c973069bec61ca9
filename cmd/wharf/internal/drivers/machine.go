package drivers

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// machine is what findings are made from; tests have their own.
type machine struct {
	os      string
	getenv  func(string) string
	exists  func(path string) bool
	program func(name string) bool
	// dial connects to a socket and closes it again.
	dial func(path string) error
}

// thisMachine is the one that the program runs on.
func thisMachine() machine {
	return machine{
		os: runtime.GOOS, getenv: os.Getenv,
		exists: func(path string) bool { _, err := os.Stat(path); return !errors.Is(err, fs.ErrNotExist) },
		program: func(name string) bool {
			_, err := exec.LookPath(name)
			return err == nil
		},
		dial: func(path string) error {
			c, err := net.DialTimeout("unix", path, time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		},
	}
}

// install returns the command that installs a package, by the package manager that is there, or nothing.
func (m machine) install(apt, dnf, apk, brew string) string {
	for _, p := range []struct{ manager, command, name string }{
		{"apt-get", "sudo apt-get install ", apt}, {"dnf", "sudo dnf install ", dnf}, {"apk", "sudo apk add ", apk}, {"brew", "brew install ", brew},
	} {
		if m.program(p.manager) {
			return p.command + p.name
		}
	}
	return ""
}

// start returns the command that starts a service.
func (m machine) start(unit, otherwise string) string {
	if m.exists("/run/systemd/system") {
		return "sudo systemctl start " + unit
	}
	return otherwise
}

// socket returns the first of the paths at which something is, or nothing.
func (m machine) socket(paths ...string) string {
	for _, p := range paths {
		if m.exists(p) {
			return p
		}
	}
	return ""
}

// runtimeDir is a path below the directory for the user's sockets, or a path that does not exist.
func (m machine) runtimeDir(path string) string {
	dir := m.getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/nonexistent"
	}
	return dir + path
}
