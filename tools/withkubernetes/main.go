//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// The exit codes of withkubernetes itself; otherwise it exits as the command does.
const (
	exitUsage   = 2
	exitTrouble = 125
)

func main() {
	f := flag.NewFlagSet("withkubernetes", flag.ContinueOnError)
	bin := f.String("bin", "", "`directory` with the programs that scripts/current-kubernetes makes")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: withkubernetes -bin DIR COMMAND [ARG…]")
		f.PrintDefaults()
	}
	if err := f.Parse(os.Args[1:]); err != nil || *bin == "" || f.NArg() == 0 {
		f.Usage()
		os.Exit(exitUsage)
	}
	code, err := run(*bin, f.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "withkubernetes:", err)
		code = exitTrouble
	}
	os.Exit(code)
}

// startLimit is how long the cluster may take until it can be used.
const startLimit = 3 * time.Minute

// run starts the cluster, runs the command, and ends the cluster.
func run(bin string, command []string) (int, error) {
	dir := os.Getenv("CONTAINERD_RUN")
	if dir == "" {
		return 0, errors.New("there is no CONTAINERD_RUN: call this inside of tools/withcontainerd -cri")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	began := time.Now()
	c, err := newCluster(filepath.Join(dir, "kubernetes"), filepath.Join(bin, "kube"))
	if err != nil {
		return 0, err
	}
	defer c.end()
	starting, stop := context.WithTimeout(ctx, startLimit)
	defer stop()
	if err := c.start(starting, filepath.Join(bin, "pause")); err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "withkubernetes: the cluster is ready after %.1f s\n", time.Since(began).Seconds())
	return c.beside(ctx, command)
}

// beside runs the command while the cluster runs. A program of the cluster that ends by itself meanwhile is told.
func (c *cluster) beside(ctx context.Context, command []string) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig(), controlVariable+"="+controlSocket)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return exitCode(exit.Sys().(syscall.WaitStatus)), nil
			}
			return 0, err
		case err := <-c.died:
			fmt.Fprintln(os.Stderr, "withkubernetes:", err)
		case <-ctx.Done():
			cmd.Process.Signal(syscall.SIGTERM)
			ctx = context.WithoutCancel(ctx)
		}
	}
}

// exitCode is what a shell would say.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
