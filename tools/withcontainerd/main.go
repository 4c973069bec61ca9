//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// initVariable carries the run's directory to the first process of the namespaces.
const initVariable = "WITHCONTAINERD_INIT"

// The exit codes of withcontainerd itself; otherwise it exits as the command does.
const (
	exitUsage   = 2
	exitTrouble = 125
)

func main() {
	if dir := os.Getenv(initVariable); dir != "" {
		runtime.LockOSThread() // children ask to die with the thread that started them
		os.Unsetenv(initVariable)
		code, err := initMain(dir, os.Args[1:])
		finish(code, err)
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(exitUsage)
	}
	code, err := run(o)
	finish(code, err)
}

// options are the command line.
type options struct {
	bin, lock string
	cri       bool
	command   []string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("withcontainerd", flag.ContinueOnError)
	f.StringVar(&o.bin, "bin", "", "`directory` with containerd, its shim and runc (default: from PATH)")
	f.StringVar(&o.lock, "lock", "", "wait until no other run holds the lock of this `name`")
	f.BoolVar(&o.cri, "cri", false, "let the daemon serve a kubelet too")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: withcontainerd [-bin DIR] [-lock NAME] [-cri] COMMAND [ARG…]")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.command = f.Args(); len(o.command) == 0 {
		f.Usage()
		return o, errors.New("no command")
	}
	return o, nil
}

func finish(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "withcontainerd:", err)
		code = exitTrouble
	}
	os.Exit(code)
}

// run starts ourselves again as the first process of new namespaces, and waits for its end.
func run(o options) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("a private containerd needs root: run this as root or with sudo")
	}
	if o.bin != "" {
		os.Setenv("PATH", o.bin+":"+os.Getenv("PATH"))
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		return 0, fmt.Errorf("%w: apt-get install containerd containernetworking-plugins", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "wharf-ci")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return 0, err
	}
	if o.lock != "" {
		unlock, err := waitLock(filepath.Join(cache, o.lock+".lock"))
		if err != nil {
			return 0, err
		}
		defer unlock()
	}
	removeStale(cache)
	dir, lock, err := makeRun(cache)
	if err != nil {
		return 0, err
	}
	defer removeRun(dir)
	settings := config(dir)
	if o.cri {
		settings = criConfig(dir)
	}
	if err := os.WriteFile(settingsFile(dir), []byte(settings), 0o644); err != nil {
		return 0, err
	}
	return startInit(dir, lock, o.command)
}

// startInit starts ourselves again in namespaces of our own, hands signals on, and returns the exit code.
func startInit(dir string, lock *os.File, command []string) (int, error) {
	cmd := exec.Command("/proc/self/exe", command...)
	cmd.Env = append(os.Environ(), initVariable+"="+dir)
	cmd.ExtraFiles = []*os.File{lock} // held until the last process of the run has ended
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
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
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.Sys().(syscall.WaitStatus)), nil
	}
	return 0, err
}

// exitCode is what a shell would say.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
