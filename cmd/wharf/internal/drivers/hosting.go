package drivers

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"strings"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/podman"
	"github.com/wharfci/wharf/provisioner"
)

// Hosting is a runtime whose tasks are workers, which run their own tasks on the same runtime.
type Hosting struct {
	// Workers makes the workers, and Builds sees what they make.
	Workers, Builds *Opened
	// Access is what a worker gets.
	Access provisioner.Access
	// Creates is how many workers are best made at once: a few for each processor, of a runtime that is on this machine; 0 where it is elsewhere.
	Creates int
}

// Close closes both drivers.
func (h *Hosting) Close() error {
	return errors.Join(h.Workers.Driver.Close(), h.Builds.Driver.Close())
}

// OpenHosting opens a runtime for workers, by name or URL, whose owner is that of what the workers make; that of the workers themselves has "-workers" behind it.
// account is the identity of workers on Kubernetes, key that with which Docker keeps the secrets of those that wait. The workers' driver allows them the
// runtime's socket and nothing else.
func OpenHosting(ctx context.Context, name, account string, key []byte) (*Hosting, error) {
	builds, err := Open(ctx, name)
	if err != nil {
		return nil, err
	}
	_, u, err := parse(builds.URL)
	if err != nil {
		return nil, errors.Join(err, builds.Driver.Close())
	}
	h := &Hosting{Builds: builds}
	workers := ofWorkers(u)
	d, err := h.open(workers, u, account, key)
	if err != nil {
		return nil, errors.Join(err, builds.Driver.Close())
	}
	h.Workers = &Opened{Driver: d, URL: written(workers), Capabilities: builds.Capabilities}
	return h, nil
}

// OpenWorkers opens a runtime, by name or URL of a driver of builds, to see the workers that run them.
func OpenWorkers(ctx context.Context, name string) (*Opened, error) {
	builds, err := Open(ctx, name)
	if err != nil {
		return nil, err
	}
	_, u, err := parse(builds.URL)
	if err := errors.Join(err, builds.Driver.Close()); err != nil {
		return nil, err
	}
	return Open(ctx, written(ofWorkers(u)))
}

// ofWorkers is the URL of the driver that has the workers of builds.
func ofWorkers(builds *url.URL) *url.URL {
	workers := *builds
	query := workers.Query()
	owner := query.Get("owner")
	if owner == "" {
		owner = "default"
	}
	query.Set("owner", owner+"-workers")
	workers.RawQuery = query.Encode()
	return &workers
}

// open makes the workers' driver, and says how they reach the runtime.
func (h *Hosting) open(workers, builds *url.URL, account string, key []byte) (driver.Driver, error) {
	inside := *builds // the URL for a worker
	h.Access.Driver = inside.Redacted()
	switch builds.Scheme {
	case "docker":
		cfg, err := dockerConfig(workers)
		if err != nil {
			return nil, err
		}
		at, err := cfg.Address()
		if err != nil {
			return nil, err
		}
		cfg.Allow.HostPaths, cfg.SealKey = h.socket(&inside, at), key
		return docker.New(cfg)
	case "podman":
		cfg, err := podmanConfig(workers)
		if err != nil {
			return nil, err
		}
		at, err := cfg.Address()
		if err != nil {
			return nil, err
		}
		cfg.Allow.HostPaths = h.socket(&inside, at)
		return podman.New(cfg)
	case "kubernetes":
		cfg, err := kubernetesConfig(workers)
		if err != nil {
			return nil, err
		}
		cfg.Gate = true // the queue: nothing is pulled or reserved for what waits
		cfg.Allow.ServiceAccounts = []string{account}
		h.Access.ServiceAccount = account
		h.Access.Driver = inCluster(inside)
		return kubernetes.New(cfg)
	}
	return openContainerdWorkers(workers, builds, h)
}

// socket lets workers have the socket of a daemon that is on its own machine, where the daemon's address is; others they reach as the provisioner does.
func (h *Hosting) socket(inside *url.URL, address string) []string {
	path, local := strings.CutPrefix(address, "unix://")
	if !local {
		inside.Host = address[strings.Index(address, "://")+3:]
		h.Access.Driver = written(inside)
		return nil
	}
	h.Creates = creates()
	const within = "/run/wharf-runtime.sock"
	h.Access.HostPaths = map[string]string{within: path}
	inside.Host, inside.Path = "", within
	h.Access.Driver = written(inside)
	return []string{path}
}

// creates is how many workers a runtime of this machine makes at once.
func creates() int { return min(2*runtime.NumCPU(), 16) }

// inCluster is a cluster's URL for a pod: it finds the API server by itself, and stays in its namespace.
func inCluster(u url.URL) string {
	q := u.Query()
	for _, of := range []string{"kubeconfig", "context", "gate"} {
		q.Del(of)
	}
	u.User, u.Host, u.Path, u.RawQuery = nil, "", "", q.Encode()
	return written(&u)
}
