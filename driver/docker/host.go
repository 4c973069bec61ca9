package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/conns"
)

const defaultSocket = "/var/run/docker.sock"

// host is where the daemon is. TLS material is taken from the environment, as the Docker
// command line does it, when the address came from there.
type host struct {
	address string
	env     bool
}

func validHost(address string) error {
	proto, rest, ok := strings.Cut(address, "://")
	switch {
	case !ok || rest == "":
		return driver.WithClass(errdefs.ErrInvalidArgument, "docker host %q: must be like unix:///var/run/docker.sock or tcp://host:2376", address)
	case proto == "ssh":
		return driver.WithClass(errdefs.ErrInvalidArgument, "docker host %q: ssh is not supported; forward the socket, ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock …, and use unix:///tmp/docker.sock", address)
	case proto != "unix" && proto != "tcp" && proto != "http" && proto != "https":
		return driver.WithClass(errdefs.ErrInvalidArgument, "docker host %q: unknown protocol %q; use unix or tcp", address, proto)
	case proto == "tcp" && portless(rest):
		return driver.WithClass(errdefs.ErrInvalidArgument, "docker host %q: has no port; it is usually 2376 with TLS and 2375 without, as in %s://%s:2376", address, proto, rest)
	}
	return nil
}

// portless reports whether an address of TCP lacks the port, without which no connection can be made.
func portless(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err != nil || port == ""
}

// resolveHost finds the daemon's address as the Docker command line does.
func resolveHost(configured string) (host, error) {
	if configured != "" {
		return host{address: configured}, nil
	}
	if env := os.Getenv("DOCKER_HOST"); env != "" {
		if remote(env) && os.Getenv("DOCKER_TLS_VERIFY") != "" && os.Getenv(client.EnvOverrideCertPath) == "" {
			return host{}, insecure("DOCKER_TLS_VERIFY is set, and DOCKER_CERT_PATH is not: set it to the directory with ca.pem, cert.pem and key.pem, such as ~/.docker")
		}
		return host{address: env, env: true}, validHost(env)
	}
	if h, err := contextHost(); h.address != "" || err != nil {
		return h, err
	}
	if _, err := os.Stat(defaultSocket); err != nil {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			if socket := filepath.Join(dir, "docker.sock"); exists(socket) {
				return host{address: "unix://" + socket}, nil
			}
		}
	}
	return host{address: "unix://" + defaultSocket}, nil
}

// Address returns where the daemon is that a driver with this configuration talks to: Host, or what the Docker command line would
// use. The error is InvalidArgument.
func (c *Config) Address() (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	h, err := resolveHost(c.Host)
	return h.address, err
}

// remote reports whether an address may want TLS.
func remote(address string) bool { return strings.HasPrefix(address, "tcp:") }

// insecure is the error where TLS is wanted and cannot be had: the connection would be open to all.
func insecure(format string, args ...any) error {
	return driver.WithClass(errdefs.ErrInvalidArgument, format, args...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// contextHost reads the address from the current Docker context, or returns none if that is the default one.
func contextHost() (host, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return host{}, nil // no home: nothing is configured there
		}
		dir = filepath.Join(home, ".docker")
	}
	name := os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var cfg struct{ CurrentContext string }
		if data, err := os.ReadFile(filepath.Join(dir, "config.json")); err == nil && json.Unmarshal(data, &cfg) == nil {
			name = cfg.CurrentContext
		}
	}
	if name == "" || name == "default" {
		return host{}, nil
	}
	sum := sha256.Sum256([]byte(name))
	data, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"))
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil {
		return host{}, driver.WithClass(errdefs.ErrInvalidArgument, "docker context %q cannot be read: %v; choose another with docker context use, or set DOCKER_HOST", name, err)
	}
	address := meta.Endpoints["docker"].Host
	if remote(address) && exists(filepath.Join(dir, "contexts", "tls", hex.EncodeToString(sum[:]))) {
		return host{}, insecure("docker context %q uses TLS, and its certificates cannot be read from there: set DOCKER_HOST to %s and DOCKER_CERT_PATH to a directory with them", name, address)
	}
	return host{address: address}, validHost(address)
}

// options configures the client: many calls at once keep their connections, which are those of c.
func (h host) options(c *conns.List) []client.Opt {
	pool := &http.Client{
		Transport:     &http.Transport{MaxIdleConns: 32, MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: client.CheckRedirect,
	}
	opts := []client.Opt{client.WithHTTPClient(pool)}
	if h.env && os.Getenv(client.EnvOverrideCertPath) != "" {
		opts = append(opts, client.WithTLSClientConfigFromEnv())
	} else if !strings.HasPrefix(h.address, "https:") {
		opts = append(opts, client.WithScheme("http")) // the client would guess from the pool, and be wrong
	}
	// The dialer comes after the address, which brings one along.
	return append(opts, client.WithHost(h.address), client.WithDialContext(c.Dialer(dialer(h.address))), client.WithAPIVersionFromEnv())
}

// dialer returns a dial function for the daemon's address, as [client.WithDialContext] takes it.
func dialer(address string) conns.Dial {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	path, isUnix := strings.CutPrefix(address, "unix://")
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if isUnix {
			network, address = "unix", path
		}
		return d.DialContext(ctx, network, address)
	}
}
