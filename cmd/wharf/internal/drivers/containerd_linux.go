package drivers

import (
	"errors"
	"net/url"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/containerd/containerdtest"
	"github.com/wharfci/wharf/driver/drivertest"
)

// These are variables as they are elsewhere, where there is no such driver.
var openContainerd = func(u *url.URL) (driver.Driver, error) {
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

func containerdConfig(u *url.URL) (containerd.Config, error) {
	q := u.Query()
	cfg := containerd.Config{Owner: q.Get("owner"), Namespace: q.Get("namespace"), Root: q.Get("root"), State: q.Get("state"), Cgroup: q.Get("cgroup")}
	if u.Host != "" {
		return cfg, errors.New("has a host, but containerd is reached on its own machine only; containerd:///path has three slashes")
	}
	if u.Path != "/" {
		cfg.Address = u.Path
	}
	return cfg, nil
}
