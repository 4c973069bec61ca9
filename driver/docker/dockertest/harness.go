// Package dockertest lets the conformance suite run on Docker: it makes the [drivertest.Harness] that reaches a daemon behind the
// driver's back, by Docker's own client.
//
// The driver's tests use it, and so does "wharf conformance". Each driver folder has such a package, with one function Harness.
package dockertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/drivertest"
)

// Harness returns the harness of the daemon that cfg names. Owner and Allow of cfg are not used: the suite has owners of its own, and
// allows things where a case is about them.
//
// What only the caller knows is left to it: Process, which needs a program to start, and RegistryHost, where the daemon is on
// another machine. Over TLS the cases that cut the connection fail, for nothing can stand in the line.
func Harness(cfg docker.Config) (drivertest.Harness, error) {
	address, err := cfg.Address()
	if err != nil {
		return drivertest.Harness{}, err
	}
	out, err := newOutside(cfg, address)
	if err != nil {
		return drivertest.Harness{}, err
	}
	cfg.Allow = docker.Policy{}
	o := opener{cfg: cfg, address: address}
	return drivertest.Harness{
		Open:          o.open,
		OpenCuttable:  o.cuttable,
		OpenCounted:   o.counted,
		OpenAllowing:  o.allowing,
		CallsPerTask:  10,
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
	cfg     docker.Config
	address string
}

func (o opener) open(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	return docker.New(o.cfg)
}

func (o opener) allowing(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	o.cfg.Allow = docker.Policy{
		Privileged: allCapabilities(), HostNetwork: true, NewPrivileges: true, HostPaths: []string{"/"}, Capabilities: []string{"ALL"},
	}
	return docker.New(o.cfg)
}

// counted counts from when the driver knows its runtime.
func (o opener) counted(ctx context.Context, owner string) (driver.Driver, func() int, error) {
	var calls atomic.Int64
	o.cfg.Owner, o.cfg.Requests = owner, func(*http.Request) { calls.Add(1) }
	d, err := docker.New(o.cfg)
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
	u, err := url.Parse(o.address)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	if u.Scheme == "https" || u.Scheme == "tcp" && os.Getenv("DOCKER_CERT_PATH") != "" {
		return nil, drivertest.Line{}, fmt.Errorf("%s: a connection with TLS cannot be cut; forward the daemon's socket and use that", o.address)
	}
	network, target := "tcp", u.Host
	if u.Scheme == "unix" {
		network, target = "unix", u.Path
	}
	p, err := drivertest.NewProxy(network, target)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	o.cfg.Owner, o.cfg.Host, o.cfg.Patience = owner, network+"://"+p.Addr(), 5*time.Second
	d, err := docker.New(o.cfg)
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
// some containers, the daemon cannot start anything privileged.
func allCapabilities() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil { // no Linux: the daemon has a machine of its own
		return true
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	return err == nil && strings.Contains(string(status), fmt.Sprintf("CapBnd:\t%016x\n", uint64(1)<<(n+1)-1))
}
