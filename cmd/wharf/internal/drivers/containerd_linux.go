package drivers

import (
	"context"
	"errors"
	"net/url"

	"github.com/wharfci/wharf/cmd/wharf/internal/outside"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/containerd/containerdtest"
	"github.com/wharfci/wharf/driver/drivertest"
)

// These are variables as they are elsewhere, where there is no such driver.
var openContainerd = func(u *url.URL) (driver.Driver, error) {
	if q := u.Query(); q.Has(machineParameter) {
		proc, inside := q.Get(machineParameter), *u
		q.Del(machineParameter)
		inside.RawQuery = q.Encode()
		cfg, err := containerdConfig(&inside)
		if err == nil {
			err = cfg.Validate()
		}
		if err != nil {
			return nil, err
		}
		d, err := outside.Open(proc, written(&inside))
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	cfg, err := containerdConfig(u)
	if err != nil {
		return nil, err
	}
	return containerd.New(cfg)
}

var containerdHarness = func(u *url.URL) (drivertest.Harness, error) {
	cfg, err := containerdConfig(u)
	if err != nil {
		return drivertest.Harness{}, err
	}
	return containerdtest.Harness(cfg)
}

// Serve has the driver of a URL for the process that has started this one: see package outside.
func Serve(ctx context.Context, name string) error {
	_, u, err := parse(name)
	if err != nil {
		return err
	}
	if u.Scheme != "containerd" || u.Query().Has(machineParameter) {
		return usage("driver %q: only containerd's is served", name)
	}
	d, err := openContainerd(u)
	if err != nil {
		return err
	}
	defer d.Close()
	return outside.Serve(ctx, d)
}

func containerdConfig(u *url.URL) (containerd.Config, error) {
	q := u.Query()
	if q.Has(machineParameter) {
		return containerd.Config{}, usage("%s is for builds in a container of containerd", machineParameter)
	}
	cfg := containerd.Config{Owner: q.Get("owner"), Namespace: q.Get("namespace"), Root: q.Get("root"), State: q.Get("state"), Cgroup: q.Get("cgroup")}
	if u.Host != "" {
		return cfg, errors.New("has a host, but containerd is reached on its own machine only; containerd:///path has three slashes")
	}
	if u.Path != "/" {
		cfg.Address = u.Path
	}
	return cfg, nil
}

// openContainerdWorkers makes the workers' driver. Their own driver has to be outside of their container, which is privileged for that.
func openContainerdWorkers(workers, builds *url.URL, h *Hosting) (driver.Driver, error) {
	const proc = "/run/machine/proc"
	cfg, err := containerdConfig(workers)
	if err != nil {
		return nil, err
	}
	inside := url.URL{Scheme: builds.Scheme, Path: cfg.WithDefaults().Address}
	q := builds.Query()
	q.Set(machineParameter, proc)
	inside.RawQuery = q.Encode()
	h.Access.Driver = written(&inside)
	h.Access.HostPaths = map[string]string{proc: "/proc"}
	h.Access.Security.Privileged = true
	h.Creates = creates()
	cfg.Allow = containerd.Policy{Privileged: true, HostPaths: []string{"/proc"}}
	return containerd.New(cfg)
}
