//go:build !linux

package drivers

import (
	"context"
	"net/url"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// The driver is not there: it needs to be on Linux itself.
var (
	openContainerd    func(*url.URL) (driver.Driver, error)
	containerdHarness func(*url.URL) (drivertest.Harness, error)
)

var errNoContainerd = usage("containerd: %s", noDriver)

// Serve is for containerd.
func Serve(context.Context, string) error { return errNoContainerd }

func openContainerdWorkers(_, _ *url.URL, _ *Hosting) (driver.Driver, error) {
	return nil, errNoContainerd
}
