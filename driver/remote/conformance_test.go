package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/docker/dockertest"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/remote"
)

// serveOwner is the variable of the environment that makes the test binary the suite's other process.
const serveOwner = "WHARF_TEST_SERVE_OWNER"

func TestMain(m *testing.M) {
	if owner := os.Getenv(serveOwner); owner != "" {
		os.Exit(serve(owner))
	}
	os.Exit(m.Run())
}

func serve(owner string) int {
	d, err := docker.New(docker.Config{Owner: owner})
	if err == nil {
		defer d.Close()
		err = drivertest.Serve(context.Background(), d, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// served is a driver with the one that it reaches, and what is between them.
type served struct {
	driver.Driver
	close []func() error
}

func (s *served) Unwrap() driver.Driver { return s.Driver }

func (s *served) Close() error {
	errs := []error{s.Driver.Close()}
	for _, f := range s.close {
		errs = append(errs, f())
	}
	s.close = nil
	return errors.Join(errs...)
}

// behind puts a driver behind a socket, and returns one that reaches it there, by way of a proxy if that is wanted.
func behind(d driver.Driver, cuttable bool) (*served, *drivertest.Proxy, error) {
	dir, err := os.MkdirTemp("", "remote")
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- remote.Serve(ctx, l, d) }()
	s := &served{close: []func() error{func() error { cancel(); return <-ended }, d.Close, func() error { return os.RemoveAll(dir) }}}
	var p *drivertest.Proxy
	if cuttable {
		if p, err = drivertest.NewProxy("unix", path); err != nil {
			return nil, nil, err
		}
		path = p.Addr()
		s.close = append([]func() error{p.Close}, s.close...)
	}
	s.Driver, err = remote.New(remote.Config{Patience: 5 * time.Second, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}})
	return s, p, err
}

// harness is Docker's, behind a socket.
func harness(t *testing.T) drivertest.Harness {
	h, err := dockertest.Harness(docker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	open, allowing := h.Open, h.OpenAllowing
	wrap := func(open func(context.Context, string) (driver.Driver, error)) func(context.Context, string) (driver.Driver, error) {
		return func(ctx context.Context, owner string) (driver.Driver, error) {
			d, err := open(ctx, owner)
			if err != nil {
				return nil, err
			}
			s, _, err := behind(d, false)
			return s, err
		}
	}
	h.Open, h.OpenAllowing, h.OpenCounted = wrap(open), wrap(allowing), nil
	h.OpenCuttable = func(ctx context.Context, owner string) (driver.Driver, drivertest.Line, error) {
		d, err := open(ctx, owner)
		if err != nil {
			return nil, drivertest.Line{}, err
		}
		s, p, err := behind(d, true)
		if err != nil {
			return nil, drivertest.Line{}, err
		}
		return s, p.Line(), nil
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), serveOwner+"="+owner)
		return cmd
	}
	return h
}

// TestConformanceThroughSocket runs the conformance suite on Docker, with a socket between the suite and the driver.
func TestConformanceThroughSocket(t *testing.T) { drivertest.Run(t, harness(t)) }
