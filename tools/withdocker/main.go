//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// The exit codes of withdocker itself; otherwise it exits as the command does.
const (
	exitUsage   = 2
	exitTrouble = 125
)

// options are the command line.
type options struct {
	probe   bool
	private bool
	bin     string
	lock    string
	user    string
	command []string
}

func main() {
	// Pdeathsig follows the thread that starts a child, so that thread has to stay.
	runtime.LockOSThread()
	if os.Getenv(initVariable) != "" {
		os.Exit(initMain())
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(exitUsage)
	}
	code, err := run(o)
	if err != nil {
		say("%v", err)
	}
	os.Exit(code)
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("withdocker", flag.ContinueOnError)
	f.BoolVar(&o.probe, "probe", false, "run nothing; exit with 0 if a daemon answers")
	f.BoolVar(&o.private, "private", false, "start a daemon of our own even if one answers")
	f.StringVar(&o.bin, "bin", "", "`directory` with the dockerd and containerd of the private daemon (default: from PATH)")
	f.StringVar(&o.lock, "lock", "", "wait until no other run holds the lock of this `name`")
	f.StringVar(&o.user, "user", "", "`uid:gid` that the command runs as beside a private daemon (set by withdocker itself)")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: withdocker [-private] [-bin DIR] [-lock NAME] COMMAND [ARG…]")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.command = f.Args(); len(o.command) == 0 && !o.probe {
		f.Usage()
		return o, errors.New("no command")
	}
	return o, nil
}

func run(o options) (int, error) {
	host := dockerHost()
	if o.probe {
		if _, err := ping(context.Background(), host); err != nil {
			return 1, nil
		}
		return 0, nil
	}
	cache, err := cacheDir()
	if err != nil {
		return exitTrouble, err
	}
	if o.lock != "" {
		unlock, err := waitLock(filepath.Join(cache, o.lock+".lock"))
		if err != nil {
			return exitTrouble, err
		}
		defer unlock()
	}
	if !o.private {
		version, err := ping(context.Background(), host)
		if err == nil {
			say("using the Docker daemon that answers at %s (version %s)", host, version)
			return runCommand(o.command)
		}
		// A daemon that someone chose, or that is there and shuts us out, is not to be replaced behind their back.
		if os.Getenv("DOCKER_HOST") != "" {
			return exitTrouble, fmt.Errorf("the daemon of DOCKER_HOST does not answer: %w", err)
		}
		if errors.Is(err, fs.ErrPermission) {
			return exitTrouble, fmt.Errorf("%w\nto be let in: sudo usermod -aG docker %s, then log in again", err, os.Getenv("USER"))
		}
	}
	if os.Geteuid() != 0 {
		return runSudo(o)
	}
	return runPrivate(cache, o)
}

// runCommand runs the command beside a daemon that was there before. The command ends when we do; where we may make a PID
// namespace (as root, mostly), all that it started ends with it.
func runCommand(argv []string) (int, error) {
	if os.Geteuid() == 0 {
		code, err := startInit(initConfig{Command: argv}, syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
		if !errors.Is(err, syscall.EPERM) {
			return code, err
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return runForwarding(cmd)
}

// runForwarding runs cmd on our own input and output, hands it the signals that we get, and returns its exit code.
func runForwarding(cmd *exec.Cmd) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return exitTrouble, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				if s != os.Interrupt { // a terminal's interrupt has reached the whole process group already
					cmd.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exitCode(exit.Sys().(syscall.WaitStatus)), nil
	default:
		return exitTrouble, err
	}
}

// runSudo starts withdocker again as root. The command itself still runs as the user.
func runSudo(o options) (int, error) {
	mend := "a private Docker daemon needs root: run this as root or with sudo, or install Docker and join its group (apt-get install docker.io; usermod -aG docker USER)"
	if err := exec.Command("sudo", "-n", "true").Run(); err != nil {
		return exitTrouble, fmt.Errorf("no Docker daemon answers, and sudo does not work without a password (%w)\n%s", err, mend)
	}
	self, err := os.Executable()
	if err != nil {
		return exitTrouble, err
	}
	args := []string{"-n", "-E", "env", "PATH=" + os.Getenv("PATH"), self,
		fmt.Sprintf("-user=%d:%d", os.Getuid(), os.Getgid()), fmt.Sprintf("-private=%t", o.private), "-bin=" + o.bin}
	return runForwarding(exec.Command("sudo", append(args, o.command...)...))
}

// exitCode is what a shell would say.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "wharf-ci")
	return dir, os.MkdirAll(dir, 0o755)
}

var started = time.Now()

// say prints a line about what goes on, with the seconds since the start.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "withdocker %5.1fs  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}
