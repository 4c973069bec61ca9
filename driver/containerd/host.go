//go:build linux

package containerd

import (
	"context"
	"net"
	"os"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wharfci/wharf/driver"
)

const defaultSocket = "/run/containerd/containerd.sock"

func addressFromEnv() string {
	if a := os.Getenv("CONTAINERD_ADDRESS"); a != "" {
		return a
	}
	return defaultSocket
}

// maxMessage is the largest answer of the daemon that is taken, as in containerd's own client.
const maxMessage = 16 << 20

// mostDelay is how long the next attempt to connect may be away: a socket of this machine answers at once, or not at all.
const mostDelay = 300 * time.Millisecond

// connect prepares a connection; it is made with the first call, and again whenever it broke.
func connect(socket string, calls func(method string)) (*grpc.ClientConn, error) {
	if calls == nil {
		calls = func(string) {}
	}
	return grpc.NewClient("passthrough:///"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", addr)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: mostDelay},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			calls(method)
			tryNow(ctx, cc)
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			calls(method)
			tryNow(ctx, cc)
			return streamer(ctx, desc, cc, method, opts...)
		}))
}

// tryNow waits for the connection, if the last attempt has failed for that of a next one: a call must not be refused for a daemon that
// has come back while the connection was still waiting, or while the failure of the last attempt was still on its way.
// (ClientConn.ResetConnectBackoff would have it made at once, but reads a map that other goroutines write.)
func tryNow(ctx context.Context, cc *grpc.ClientConn) {
	state := cc.GetState()
	if state == connectivity.Ready {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 4*mostDelay)
	defer cancel()
	cc.Connect()
	for failures := 0; failures < 2 && state != connectivity.Ready && state != connectivity.Shutdown && cc.WaitForStateChange(ctx, state); {
		switch state = cc.GetState(); state {
		case connectivity.Idle:
			cc.Connect()
		case connectivity.TransientFailure:
			failures++
		}
	}
}

// Capabilities says what this driver and its daemon can do. See [driver.Driver].
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	ctx, done := d.begin(ctx)
	defer done()
	caps, err := d.caps.Do(ctx, func(ctx context.Context) (driver.Capabilities, error) {
		v, err := d.client.Version(ctx)
		if err != nil {
			return driver.Capabilities{}, err
		}
		allow := d.cfg.Allow
		return driver.Capabilities{
			Runtime: "containerd " + v.Version, OS: "linux", Arch: runtime.GOARCH,
			Exec: true, Dial: true, Events: true, Pull: true, Stats: true, Sandboxes: true,
			Init: true, Services: true, NetworkOwn: true, NetworkNone: true, DNS: true, Hosts: true, Hostname: true,
			VolumeSubPath: true, VolumeUsage: true, CPULimit: true, MemoryLimit: true, PIDLimit: true, Secrets: true,
			Privileged: allow.Privileged, HostNetwork: allow.HostNetwork, NewPrivileges: allow.NewPrivileges,
			HostPaths: len(allow.HostPaths) > 0, AddCapabilities: len(allow.Capabilities) > 0,
		}, nil
	})
	return caps, driver.Wrap(ctx, "capabilities", "", classify(err))
}
