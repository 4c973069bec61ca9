package drivers

import (
	"fmt"
	"net/url"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/docker/dockertest"
	"github.com/wharfci/wharf/driver/drivertest"
)

func openDocker(u *url.URL) (driver.Driver, error) {
	cfg, err := dockerConfig(u)
	if err != nil {
		return nil, err
	}
	return docker.New(cfg)
}

func dockerHarness(u *url.URL) (drivertest.Harness, error) {
	cfg, err := dockerConfig(u)
	if err != nil {
		return drivertest.Harness{}, err
	}
	return dockertest.Harness(cfg)
}

func dockerConfig(u *url.URL) (docker.Config, error) {
	host, err := address(u)
	return docker.Config{Owner: u.Query().Get("owner"), Host: host}, err
}

// address is the socket or the host of a URL, in the form of DOCKER_HOST and CONTAINER_HOST; empty if the URL has none.
func address(u *url.URL) (string, error) {
	switch {
	case u.Host != "" && u.Path != "" && u.Path != "/":
		return "", fmt.Errorf("has both a host and a path; %s:///path has three slashes", u.Scheme)
	case u.Host != "":
		return "tcp://" + u.Host, nil
	case u.Path != "" && u.Path != "/":
		return "unix://" + u.Path, nil
	}
	return "", nil
}
