package podman

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// rootfulSocket is where the service of root listens.
const rootfulSocket = "/run/podman/podman.sock"

// host is where the service is, as package net has it.
type host struct{ network, address string }

// parseHost reads an address such as "unix:///run/podman/podman.sock" or "tcp://10.0.0.5:8080".
func parseHost(address string) (host, error) {
	proto, rest, ok := strings.Cut(address, "://")
	switch {
	case !ok || rest == "":
		return host{}, driver.WithClass(errdefs.ErrInvalidArgument, "podman host %q: must be like unix:///run/podman/podman.sock", address)
	case proto == "ssh":
		return host{}, driver.WithClass(errdefs.ErrInvalidArgument, "podman host %q: ssh is not supported; forward the socket, ssh -nNT -L /tmp/podman.sock:/run/podman/podman.sock …, and use unix:///tmp/podman.sock", address)
	case proto != "unix" && proto != "tcp":
		return host{}, driver.WithClass(errdefs.ErrInvalidArgument, "podman host %q: unknown protocol %q; use unix or tcp", address, proto)
	}
	return host{proto, rest}, nil
}

// Address returns where the service is that a driver with this configuration talks to, such as "unix:///run/podman/podman.sock". The
// error is InvalidArgument.
func (c *Config) Address() (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	h, err := resolveHost(c.Host)
	return h.network + "://" + h.address, err
}

// resolveHost finds the service: what is configured, CONTAINER_HOST, and the usual places.
func resolveHost(configured string) (host, error) {
	if configured == "" {
		configured = os.Getenv("CONTAINER_HOST")
	}
	if configured != "" {
		return parseHost(configured)
	}
	if os.Geteuid() != 0 {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = filepath.Join("/run/user", strconv.Itoa(os.Geteuid()))
		}
		if socket := filepath.Join(dir, "podman", "podman.sock"); exists(socket) || !exists(rootfulSocket) {
			return host{"unix", socket}, nil
		}
	}
	return host{"unix", rootfulSocket}, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
