//go:build linux

// Package containerdtest lets the conformance suite run on containerd: it makes the [drivertest.Harness] that reaches a daemon behind the
// driver's back, by containerd's own client.
package containerdtest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/drivertest"
)

// callsPerTask is how many calls a task of one container may cost. They are small ones, to a daemon of this machine: where others
// have one call, containerd has one to each of its stores.
const callsPerTask = 35

// Harness returns the harness of the daemon that cfg names. Owner and Allow of cfg are not used: the suite has owners of its own, and
// allows things where a case is about them. Process is left to the caller.
func Harness(cfg containerd.Config) (drivertest.Harness, error) {
	if err := cfg.Validate(); err != nil {
		return drivertest.Harness{}, err
	}
	cfg = cfg.WithDefaults()
	cfg.Allow = containerd.Policy{}
	out := outside{address: cfg.Address, namespace: cfg.Namespace, snapshotter: cfg.Snapshotter, root: cfg.Root, state: cfg.State}
	o := opener{cfg}
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
type opener struct{ cfg containerd.Config }

func (o opener) open(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	return containerd.New(o.cfg)
}

func (o opener) allowing(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	o.cfg.Allow = containerd.Policy{Privileged: true, HostNetwork: true, NewPrivileges: true, HostPaths: []string{"/"}, Capabilities: []string{"ALL"}}
	return containerd.New(o.cfg)
}

func (o opener) counted(_ context.Context, owner string) (driver.Driver, func() int, error) {
	var calls atomic.Int64
	o.cfg.Owner, o.cfg.Calls = owner, func(string) { calls.Add(1) }
	d, err := containerd.New(o.cfg)
	return d, func() int { return int(calls.Load()) }, err
}

func (o opener) cuttable(_ context.Context, owner string) (driver.Driver, drivertest.Line, error) {
	p, err := drivertest.NewProxy("unix", o.cfg.Address)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	o.cfg.Owner, o.cfg.Address, o.cfg.Patience = owner, p.Addr(), 5*time.Second
	d, err := containerd.New(o.cfg)
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
