//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Addresses of the run's own network namespace.
const (
	bridge   = "kube0" // of the pods; its address is also the node's
	nodeIP   = "10.77.0.1"
	pods     = "10.77.0.0/16"
	services = "10.78.0.0/24"
	apiPort  = "6443"
	etcd     = "http://127.0.0.1:2379"
	peers    = "http://127.0.0.1:2380"
	node     = "node1"
)

// cluster is a running cluster, or one that is being started.
type cluster struct {
	dir    string // all that it writes
	kube   string // its program
	secret secrets
	died   chan error // a program that ended by itself

	mu      sync.Mutex
	running map[string]*process
	cancel  context.CancelFunc // of what runs beside: volumes, control
	wait    sync.WaitGroup
}

func newCluster(dir, kube string) (*cluster, error) {
	if _, err := os.Stat(kube); err != nil {
		return nil, fmt.Errorf("%w: scripts/current-kubernetes makes it", err)
	}
	return &cluster{dir: dir, kube: kube, died: make(chan error, 16), running: map[string]*process{}}, nil
}

func (c *cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

func (c *cluster) kubeconfig() string { return c.path("admin.kubeconfig") }

// client is an administrator's.
func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // nobody else uses the cluster
	return kubernetes.NewForConfig(config)
}

// start returns when pods can be made. Each program that is needed by the next says by sd_notify(3) that it is ready.
func (c *cluster) start(ctx context.Context, pause string) error {
	if err := errors.Join(c.settings(), ownMachine(c.dir)); err != nil {
		return err
	}
	if err := loadPause(ctx, pause); err != nil {
		return fmt.Errorf("load the image of the pause program: %w", err)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := c.launch(ctx, name, true); err != nil {
			return err
		}
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kubelet"} {
		if err := c.launch(ctx, name, false); err != nil {
			return err
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	beside, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	v := volumes{client: client, dir: c.path("volumes")}
	if err := v.class(ctx); err != nil {
		return c.explain(err)
	}
	c.wait.Go(func() { v.serve(beside) })
	if err := c.serveControl(beside); err != nil {
		return err
	}
	return c.explain(ready(ctx, client))
}

// end ends everything at once: nothing of it is used again.
func (c *cluster) end() {
	if c.cancel != nil {
		c.cancel()
	}
	c.mu.Lock()
	for _, name := range []string{"kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		if p := c.running[name]; p != nil {
			p.stopped = true
			p.cmd.Process.Kill()
		}
	}
	c.mu.Unlock()
	c.wait.Wait()
}

// explain adds to an error what a program that died meanwhile has said.
func (c *cluster) explain(err error) error {
	if err == nil {
		return nil
	}
	for {
		select {
		case died := <-c.died:
			err = errors.Join(err, died)
		default:
			return err
		}
	}
}
