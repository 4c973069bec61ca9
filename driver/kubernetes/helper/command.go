//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/internal/rootfs"
)

// command is what is to be run, with everything found out.
type command struct {
	path string
	args []string
	env  []string
	dir  string
	cred *syscall.Credential // nil: as this process
	own  bool                // in a process group of its own
}

func (c *command) uid() uint32 {
	if c.cred != nil {
		return c.cred.Uid
	}
	return uint32(os.Getuid())
}

// command finds out all that a command needs. An error says why it cannot be started, in words for the user.
func (c *container) command(args, env []string, dir, user string) (*command, error) {
	if len(args) == 0 {
		return nil, errors.New("no command: neither the spec nor the image says what to run")
	}
	cmd := &command{args: args, env: c.environment(env), dir: dir}
	if user != "" {
		found, err := rootfs.LookUser(user)
		if err != nil {
			return nil, err
		}
		cmd.cred = &syscall.Credential{Uid: uint32(found.UID), Gid: uint32(found.GID), Groups: found.Groups}
		if !c.home {
			cmd.env = changeHome(cmd.env, found)
		}
	}
	if cmd.dir == "" {
		cmd.dir, _ = os.Getwd()
	} else if err := os.MkdirAll(cmd.dir, 0o755); err != nil {
		return nil, fmt.Errorf("working directory %s: %w", cmd.dir, err)
	}
	var err error
	cmd.path, err = lookPath(args[0], cmd.env)
	return cmd, err
}

// changeHome makes HOME that of the user, unless the image sets it: what is there for this process, root, was not set by the image.
func changeHome(env []string, to rootfs.User) []string {
	root, _ := rootfs.LookUser("0")
	for _, v := range env {
		if home, ok := strings.CutPrefix(v, "HOME="); ok && home != "" && home != cmp.Or(root.Home, "/") {
			return env
		}
	}
	return setVariable(env, "HOME", cmp.Or(to.Home, "/"))
}

func setVariable(env []string, name, value string) []string {
	for i, v := range env {
		if strings.HasPrefix(v, name+"=") {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

// defaultPath is where commands are looked for if the environment does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // what is wrong with it, the start says
	}
	path := defaultPath
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	var found error = errors.New("executable file not found in $PATH")
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err != nil || info.IsDir() || name == "" {
			continue
		}
		if info.Mode()&0o111 != 0 {
			return file, nil
		}
		found = fs.ErrPermission
	}
	return "", fmt.Errorf("exec: %q: %w", name, found)
}

// fork starts a command. The caller reaps it.
func (c *command) fork(files ...*os.File) (int, error) {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	if info, err := os.Stat(c.dir); err != nil || !info.IsDir() {
		if err == nil {
			err = unix.ENOTDIR
		}
		return 0, fmt.Errorf("working directory %s: %w", c.dir, err)
	}
	pid, err := syscall.ForkExec(c.path, c.args, &syscall.ProcAttr{
		Dir: c.dir, Env: c.env, Files: fds, Sys: &syscall.SysProcAttr{Credential: c.cred, Setpgid: c.own},
	})
	if err != nil {
		return 0, fmt.Errorf("exec: %q: %w", c.args[0], err)
	}
	return pid, nil
}
