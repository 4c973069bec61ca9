// Package podmantest lets the conformance suite run on Podman: it makes the [drivertest.Harness] that reaches a service behind the
// driver's back, by plain requests to its API.
package podmantest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/podman"
)

// callsPerTask is how many calls a task of one container may cost. Why a task was not started is in an object of its own, which
// has to be looked for, and removed.
const callsPerTask = 14

// Harness returns the harness of the service that cfg names. Owner and Allow of cfg are not used: the suite has owners of its own, and
// allows things where a case is about them. Process is left to the caller.
func Harness(cfg podman.Config) (drivertest.Harness, error) {
	address, err := cfg.Address()
	if err != nil {
		return drivertest.Harness{}, err
	}
	network, target, _ := strings.Cut(address, "://")
	cfg.Allow = podman.Policy{}
	o := opener{cfg: cfg, network: network, target: target}
	out := newOutside(network, target)
	return drivertest.Harness{
		Open:          o.open,
		OpenCuttable:  o.cuttable,
		OpenCounted:   o.counted,
		OpenAllowing:  o.allowing,
		CallsPerTask:  callsPerTask,
		Load:          out.load,
		RemoveOutside: out.remove,
		SignalOutside: out.signal,
		Left:          out.left,
		RemoveImage:   out.removeImage,
		Shown:         out.shown,
	}, nil
}

// opener makes driver values.
type opener struct {
	cfg             podman.Config
	network, target string
}

func (o opener) open(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	return podman.New(o.cfg)
}

func (o opener) allowing(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	o.cfg.Allow = podman.Policy{
		Privileged: allCapabilities(), HostNetwork: true, NewPrivileges: true, HostPaths: []string{"/"}, Capabilities: []string{"ALL"},
	}
	return podman.New(o.cfg)
}

// counted counts from when the driver knows its runtime.
func (o opener) counted(ctx context.Context, owner string) (driver.Driver, func() int, error) {
	var calls atomic.Int64
	o.cfg.Owner, o.cfg.Requests = owner, func(*http.Request) { calls.Add(1) }
	d, err := podman.New(o.cfg)
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.Capabilities(ctx); err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	before := calls.Load()
	return d, func() int { return int(calls.Load() - before) }, nil
}

func (o opener) cuttable(_ context.Context, owner string) (driver.Driver, drivertest.Line, error) {
	p, err := drivertest.NewProxy(o.network, o.target)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	o.cfg.Owner, o.cfg.Host, o.cfg.Patience = owner, o.network+"://"+p.Addr(), 5*time.Second
	d, err := podman.New(o.cfg)
	if err != nil {
		return nil, drivertest.Line{}, errors.Join(err, p.Close())
	}
	return proxied{d, p}, p.Line(), nil
}

// proxied is a driver that takes its proxy along when it is closed.
type proxied struct {
	driver.Driver
	proxy *drivertest.Proxy
}

func (p proxied) Unwrap() driver.Driver { return p.Driver }

func (p proxied) Close() error { return errors.Join(p.Driver.Close(), p.proxy.Close()) }

// allCapabilities reports whether this machine may use every capability of its kernel. Where one is missing, as inside of
// some containers, root's service cannot start anything privileged.
func allCapabilities() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil { // no Linux: the service has a machine of its own
		return true
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	return err == nil && strings.Contains(string(status), fmt.Sprintf("CapBnd:\t%016x\n", uint64(1)<<(n+1)-1))
}
