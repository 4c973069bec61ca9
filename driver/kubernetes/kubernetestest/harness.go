// Package kubernetestest lets the conformance suite run on Kubernetes: it makes the [drivertest.Harness] that reaches a cluster behind the
// driver's back, by the API server and by the containerd of its only node.
package kubernetestest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	driverkubernetes "github.com/wharfci/wharf/driver/kubernetes"
)

// callsPerTask is how many calls of the API server a task of one container may cost.
const callsPerTask = 12

// Cluster is a cluster that the suite can run on.
type Cluster struct {
	// Config is the configuration of the driver values, with their account and the place where the suite's images can be read.
	Config driverkubernetes.Config
	// Harness is for the suite. Process is left to the caller.
	Harness drivertest.Harness
	close   func()
}

// Close ends what serves the configuration of the suite's images, and takes the account's kubeconfig away.
func (c *Cluster) Close() { c.close() }

// New returns the cluster that cfg names, whose only node has its containerd at the address, a socket of this machine. With a role, which is a manifest,
// the driver values act as an account that has the role and nothing else; it is made here, with the rights that cfg gives, and stays. Without one
// they act with these rights themselves. Owner and Allow of cfg are not used: the suite has owners of its own, and
// allows things where a case is about them.
func New(ctx context.Context, cfg driverkubernetes.Config, containerd string, role []byte) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	rc, namespace, err := connection(cfg)
	if err != nil {
		return nil, err
	}
	api, err := unpooled(rc)
	if err != nil {
		return nil, err
	}
	kubeconfig := ""
	if role != nil {
		if kubeconfig, err = account(ctx, api, rc, namespace, role); err != nil {
			return nil, fmt.Errorf("make the account of the driver: %w", err)
		}
		cfg.Kubeconfig, cfg.Context = kubeconfig, ""
	}
	mirror, err := serveImages()
	if err != nil {
		os.Remove(kubeconfig)
		return nil, err
	}
	cfg.Allow = driverkubernetes.Policy{}
	cfg.Mirrors = map[string]string{"localhost": "http://" + mirror.address}
	out := outside{api: api, namespace: namespace, containerd: containerd, images: mirror}
	o := opener{cfg, rc.Host}
	end := func() {
		mirror.close()
		os.Remove(kubeconfig)
	}
	return &Cluster{Config: cfg, close: end, Harness: drivertest.Harness{
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
	}}, nil
}

// unpooled returns a client that keeps no connection: the suite looks for those that the driver has left open.
func unpooled(rc *rest.Config) (kubernetes.Interface, error) {
	tls, err := rest.TLSConfigFor(rc)
	if err != nil {
		return nil, err
	}
	wrapped, err := rest.HTTPWrappersForConfig(rc, &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true})
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfigAndClient(rc, &http.Client{Transport: wrapped})
}

func connection(cfg driverkubernetes.Config) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	over := &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}
	over.Context.Namespace = cfg.Namespace
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over)
	rc, err := load.ClientConfig()
	if err != nil {
		return nil, "", err
	}
	rc.QPS = -1
	namespace, _, err := load.Namespace()
	return rc, namespace, err
}

// opener makes driver values.
type opener struct {
	cfg    driverkubernetes.Config
	server string
}

func (o opener) open(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	return driverkubernetes.New(o.cfg)
}

func (o opener) allowing(_ context.Context, owner string) (driver.Driver, error) {
	o.cfg.Owner = owner
	o.cfg.Allow = driverkubernetes.Policy{
		Privileged: true, HostNetwork: true, NewPrivileges: true, HostPaths: []string{"/"}, Capabilities: []string{"ALL"}, ServiceAccounts: []string{"*"},
	}
	return driverkubernetes.New(o.cfg)
}

// counter counts requests.
type counter struct {
	next  http.RoundTripper
	calls *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	return c.next.RoundTrip(r)
}

func (o opener) counted(_ context.Context, owner string) (driver.Driver, func() int, error) {
	var calls atomic.Int64
	o.cfg.Owner = owner
	o.cfg.Transport = func(next http.RoundTripper) http.RoundTripper { return counter{next, &calls} }
	d, err := driverkubernetes.New(o.cfg)
	return d, func() int { return int(calls.Load()) }, err
}

func (o opener) cuttable(_ context.Context, owner string) (driver.Driver, drivertest.Line, error) {
	server, err := url.Parse(o.server)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	p, err := drivertest.NewProxy("tcp", server.Host)
	if err != nil {
		return nil, drivertest.Line{}, err
	}
	o.cfg.Owner, o.cfg.Server, o.cfg.Patience = owner, "https://"+p.Addr(), 5*time.Second
	d, err := driverkubernetes.New(o.cfg)
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
