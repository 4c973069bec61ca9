//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// process is a program of the cluster.
type process struct {
	cmd     *exec.Cmd
	stopped bool // by us; guarded by cluster.mu
	ended   chan struct{}
}

// arguments are those of each program.
func (c *cluster) arguments(name string) []string {
	switch name {
	case "etcd":
		return []string{"--name=n", "--data-dir=" + c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=n=" + peers}
	case "kube-apiserver":
		return []string{"--etcd-servers=" + etcd, "--bind-address=" + nodeIP, "--advertise-address=" + nodeIP, "--secure-port=" + apiPort,
			"--service-cluster-ip-range=" + services, "--tls-cert-file=" + c.path("apiserver.crt"), "--tls-private-key-file=" + c.path("apiserver.key"),
			"--client-ca-file=" + c.path("ca.crt"), "--token-auth-file=" + c.path("tokens.csv"), "--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction", "--kubelet-certificate-authority=" + c.path("ca.crt"),
			"--kubelet-client-certificate=" + c.path("client.crt"), "--kubelet-client-key=" + c.path("client.key"),
			"--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + c.path("accounts.key"),
			"--service-account-key-file=" + c.path("accounts.key")}
	case "kube-controller-manager":
		return []string{"--kubeconfig=" + c.kubeconfig(), "--leader-elect=false", "--secure-port=0", "--root-ca-file=" + c.path("ca.crt"),
			"--service-account-private-key-file=" + c.path("accounts.key"), "--flex-volume-plugin-dir=" + c.path("plugins")}
	case "kube-scheduler":
		return []string{"--kubeconfig=" + c.kubeconfig(), "--leader-elect=false", "--secure-port=0"}
	case "kubelet":
		return []string{"--config=" + c.path("kubelet.yaml"), "--kubeconfig=" + c.path("kubelet.kubeconfig"), "--root-dir=" + c.path("kubelet"),
			"--cert-dir=" + c.path("kubelet", "pki"), "--hostname-override=" + node, "--node-ip=" + nodeIP}
	}
	panic("there is no program " + name)
}

// launch starts a program, and with wait returns when it says that it is ready.
func (c *cluster) launch(ctx context.Context, name string, wait bool) error {
	log, err := os.OpenFile(c.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.kube, append([]string{name}, c.arguments(name)...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "GOGC=400")            // a machine that runs a whole cluster has more memory to give than processors
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the terminal is for the command
	var ready <-chan error
	if wait {
		socket := "/run/withkubernetes-" + name + ".sock"
		if ready, err = listenReady(ctx, socket); err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	c.mu.Lock()
	c.running[name] = p
	c.mu.Unlock()
	c.wait.Go(func() { c.watch(name, p) })
	if !wait {
		return nil
	}
	select {
	case err := <-ready:
		if err != nil {
			return fmt.Errorf("%s is not ready: %w; the end of its log:\n%s", name, err, c.lastLines(name))
		}
		return nil
	case <-p.ended:
		return c.explain(fmt.Errorf("%s ended while it started", name))
	}
}

// watch waits for the end of a program, and tells it unless we have ended it.
func (c *cluster) watch(name string, p *process) {
	err := p.cmd.Wait()
	c.mu.Lock()
	stopped := p.stopped
	if c.running[name] == p {
		delete(c.running, name)
	}
	c.mu.Unlock()
	if !stopped {
		select {
		case c.died <- fmt.Errorf("%s ended (%v); the end of its log:\n%s", name, err, c.lastLines(name)):
		default:
		}
	}
	close(p.ended)
}

// halt ends a program by a signal, and returns when it has ended.
func (c *cluster) halt(name string, s syscall.Signal) error {
	c.mu.Lock()
	p := c.running[name]
	if p != nil {
		p.stopped = true
	}
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s does not run", name)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return err
	}
	<-p.ended
	return nil
}

func (c *cluster) log(name string) string { return c.path(name + ".log") }

func (c *cluster) lastLines(name string) string {
	log, _ := os.ReadFile(c.log(name))
	lines := strings.SplitAfter(string(log), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "")
}

// listenReady opens the socket to which a program says that it is ready, and waits for that until ctx ends.
func listenReady(ctx context.Context, socket string) (<-chan error, error) {
	os.Remove(socket)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	go func() {
		defer conn.Close()
		defer stop()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil || strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
				ready <- err
				return
			}
		}
	}()
	return ready, nil
}
