package drivers

import (
	"net/url"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/podman"
	"github.com/wharfci/wharf/driver/podman/podmantest"
)

func openPodman(u *url.URL) (driver.Driver, error) {
	cfg, err := podmanConfig(u)
	if err != nil {
		return nil, err
	}
	return podman.New(cfg)
}

func podmanHarness(u *url.URL) (drivertest.Harness, error) {
	cfg, err := podmanConfig(u)
	if err != nil {
		return drivertest.Harness{}, err
	}
	return podmantest.Harness(cfg)
}

func podmanConfig(u *url.URL) (podman.Config, error) {
	host, err := address(u)
	return podman.Config{Owner: u.Query().Get("owner"), Host: host}, err
}
