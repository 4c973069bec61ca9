//go:build !linux

package drivers

import (
	"net/url"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// The driver is not there: it needs to be on Linux itself.
var (
	openContainerd    func(*url.URL) (driver.Driver, error)
	containerdHarness func(*url.URL) (drivertest.Harness, error)
)
