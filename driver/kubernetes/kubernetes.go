package kubernetes

import (
	"cmp"
	"context"
	stdnet "net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/conns"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// Driver is a [driver.Driver] on Kubernetes. It is safe for use by many goroutines.
type Driver struct {
	cfg       Config
	owner     string
	namespace string
	rest      *rest.Config
	lines     conns.List
	// registries is for questions to registries.
	registries *http.Transport
	api        kubernetes.Interface

	ctx    context.Context // ends with Close
	close  context.CancelCauseFunc
	tasks  sync.WaitGroup // goroutines that outlive a call
	closed atomic.Bool

	caps   guard.Once[driver.Capabilities]
	pods   podWatch
	images imageCache
}

var (
	_ driver.Driver  = (*Driver)(nil)
	_ driver.Execer  = (*Driver)(nil)
	_ driver.Dialer  = (*Driver)(nil)
	_ driver.Eventer = (*Driver)(nil)
	_ driver.Statser = (*Driver)(nil)
)

var errClosed = driver.WithClass(errdefs.ErrUnavailable, "the driver was closed")

// New returns a driver for the configuration. It makes no connection: an API server that is
// not there shows in the first call. The caller closes the driver.
func New(cfg Config) (*Driver, error) {
	d, err := newDriver(cfg)
	if err != nil {
		return nil, &driver.Error{Op: "configure kubernetes", Err: err}
	}
	return d, nil
}

func newDriver(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	rc, namespace, err := connection(cfg)
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
	}
	d := &Driver{cfg: cfg, owner: cfg.Owner, namespace: namespace, rest: rc}
	d.registries = newRegistries(&d.lines)
	web, err := d.client()
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
	}
	d.api, err = kubernetes.NewForConfigAndClient(rc, web)
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
	}
	d.ctx, d.close = context.WithCancelCause(context.Background())
	d.pods.d = d
	return d, nil
}

// connection finds the API server and the namespace.
func connection(cfg Config) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	over := &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}
	over.Context.Namespace = cfg.Namespace
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over)
	var rc *rest.Config
	var err error
	namespace := cfg.Namespace
	if inCluster(cfg) {
		if rc, err = rest.InClusterConfig(); err == nil && namespace == "" {
			var text []byte
			text, err = os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
			namespace = string(text)
		}
	} else if rc, err = load.ClientConfig(); err == nil {
		namespace, _, err = load.Namespace()
	}
	if err != nil {
		return nil, "", err
	}
	if cfg.Server != "" {
		if u, err := url.Parse(rc.Host); err == nil && rc.TLSClientConfig.ServerName == "" {
			rc.TLSClientConfig.ServerName = u.Hostname()
		}
		rc.Host = cfg.Server
	}
	rc.UserAgent = "wharf"
	rc.QPS = -1 // the server has its own fairness; waiting here would only hide it
	if cfg.Transport != nil {
		rc.Wrap(cfg.Transport)
	}
	return rc, cmp.Or(namespace, "default"), nil
}

// client returns what speaks HTTP, with connections that no other driver value shares, so that Close can end them.
func (d *Driver) client() (*http.Client, error) {
	tls, err := rest.TLSConfigFor(d.rest)
	if err != nil {
		return nil, err
	}
	dial := d.rest.Dial
	if dial == nil { // as http.DefaultTransport does
		dial = (&stdnet.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	tr := net.SetTransportDefaults(&http.Transport{TLSClientConfig: tls, DialContext: d.lines.Dialer(dial), MaxIdleConnsPerHost: 25})
	wrapped, err := rest.HTTPWrappersForConfig(d.rest, tr)
	return &http.Client{Transport: wrapped}, err
}

// inCluster reports whether this process runs in a pod and nothing names another cluster.
func inCluster(cfg Config) bool {
	return cfg.Kubeconfig == "" && cfg.Context == "" && os.Getenv("KUBECONFIG") == "" && os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// begin returns the context of a call: it ends with the caller's and with Close.
func (d *Driver) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(errClosed) })
	if d.closed.Load() {
		cancel(errClosed)
	}
	return ctx, func() { stop(); cancel(nil) }
}

// detached returns a context for clearing up, which goes on when the caller's has ended.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// Close ends the connections and goroutines of the driver. See [driver.Driver].
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.close(errClosed)
	ended := make(chan struct{})
	go func() { d.tasks.Wait(); close(ended) }()
	limit := time.NewTimer(4 * time.Second)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	}
	d.lines.Close(errClosed)
	d.registries.CloseIdleConnections()
	return nil
}
