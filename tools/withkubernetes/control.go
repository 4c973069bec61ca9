//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The command finds the control socket by this variable.
const (
	controlVariable = "WHARF_KUBERNETES_CONTROL"
	controlSocket   = "/run/withkubernetes.sock"
)

// serveControl stops and starts programs on behalf of the command, until ctx ends.
func (c *cluster) serveControl(ctx context.Context) error {
	l, err := net.Listen("unix", controlSocket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	c.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					answer := "ok"
					if err := c.obey(ctx, strings.Fields(lines.Text())); err != nil {
						answer = strings.ReplaceAll(err.Error(), "\n", " ")
					}
					if _, err := fmt.Fprintln(conn, answer); err != nil {
						return
					}
				}
			}()
		}
	})
	return nil
}

func (c *cluster) obey(ctx context.Context, words []string) error {
	programs := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}
	if len(words) != 2 || !slices.Contains(programs, words[1]) {
		return fmt.Errorf("want stop, kill or start, and one of %s", strings.Join(programs, ", "))
	}
	switch words[0] {
	case "stop":
		return c.halt(words[1], syscall.SIGTERM)
	case "kill":
		return c.halt(words[1], syscall.SIGKILL)
	case "start":
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		if err := c.launch(ctx, words[1], words[1] == "etcd" || words[1] == "kube-apiserver"); err != nil {
			return err
		}
		return c.serving(ctx, words[1])
	}
	return fmt.Errorf("there is no command %q", words[0])
}

// serving returns when a program that was started again serves. An API server knows nobody's rights before it has read them, and no event tells that it has.
func (c *cluster) serving(ctx context.Context, name string) error {
	path := "/readyz"
	switch name {
	case "etcd", "kube-apiserver":
	case "kubelet":
		path = "/api/v1/nodes/" + node + "/proxy/healthz"
	default:
		return nil
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		if _, err = client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx); err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", name, err)
		}
	}
}
