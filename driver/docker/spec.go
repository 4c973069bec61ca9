package docker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/wharfci/wharf/driver"
)

// supported refuses what Docker cannot honour and what the installation does not allow.
func (d *Driver) supported(ctx context.Context, spec *driver.TaskSpec) error {
	p := spec.Placement
	switch {
	case len(p.NodeSelector) > 0:
		return driver.Unsupported("Placement.NodeSelector")
	case len(p.Tolerations) > 0:
		return driver.Unsupported("Placement.Tolerations")
	case p.ServiceAccount != "":
		return driver.Unsupported("Placement.ServiceAccount")
	}
	for _, c := range containersOf(spec) {
		if err := d.containerSupported(ctx, spec, c.Container, c.field); err != nil {
			return err
		}
	}
	_, err := d.networkOf(spec)
	return err
}

// member is a container of a task and the field of the spec that holds it.
type member struct {
	*driver.Container
	field string
	kind  string
	order int
}

// in is the container's name in the contract.
func (c member) in(spec *driver.TaskSpec) string { return nameIn(spec, c.Container) }

func nameIn(spec *driver.TaskSpec, c *driver.Container) string {
	if c == &spec.Container {
		return driver.MainContainer
	}
	return c.Name
}

// containersOf returns the containers of a task in the order in which they are started, but the
// main one first.
func containersOf(spec *driver.TaskSpec) []member {
	all := []member{{&spec.Container, "Container", kindTask, 0}}
	for i := range spec.Init {
		all = append(all, member{&spec.Init[i], fmt.Sprintf("Init[%d]", i), kindInit, i})
	}
	for i := range spec.Services {
		all = append(all, member{&spec.Services[i].Container, fmt.Sprintf("Services[%d]", i), kindService, i})
	}
	return all
}

func (d *Driver) containerSupported(ctx context.Context, spec *driver.TaskSpec, c *driver.Container, field string) error {
	secrets := spec.SecretsOf(nameIn(spec, c))
	if c.Platform != "" {
		caps, err := d.caps.Do(ctx, d.capabilities)
		if err != nil {
			return err
		}
		if own := caps.OS + "/" + caps.Arch; c.Platform != own {
			return driver.Unsupported(fmt.Sprintf("%s.Platform %q (the daemon's own is %q)", field, c.Platform, own))
		}
	}
	for _, m := range c.Mounts {
		if m.SubPath != "" {
			caps, err := d.caps.Do(ctx, d.capabilities)
			if err != nil {
				return err
			}
			if !caps.VolumeSubPath {
				return driver.Unsupported(field + ".Mounts.SubPath (it needs Docker 26)")
			}
		}
		for _, s := range secrets {
			if s.Path == m.Path || strings.HasPrefix(path.Clean(s.Path), m.Path+"/") {
				return driver.Unsupported(fmt.Sprintf("Secrets: %q at %s, which is below the mount %s,", s.Name, s.Path, m.Path))
			}
		}
	}
	if c.Security.ReadOnlyRoot && len(secrets) > 0 {
		return driver.Unsupported(field + ".Security.ReadOnlyRoot together with Secrets")
	}
	return d.allowed(spec, &c.Security, field+".Security.")
}

// allowed refuses what goes beyond the safe choice and beyond the installation's policy.
func (d *Driver) allowed(spec *driver.TaskSpec, s *driver.Security, field string) error {
	deny := func(what string) error {
		return driver.WithClass(errdefs.ErrPermissionDenied, "%s%s is not allowed by this installation; its owner may allow it in the driver's configuration", field, what)
	}
	switch {
	case s.Privileged && !d.allow.Privileged:
		return deny("Privileged")
	case s.HostNetwork && !d.allow.HostNetwork:
		return deny("HostNetwork")
	case s.AllowNewPrivileges && !d.allow.NewPrivileges:
		return deny("AllowNewPrivileges")
	case s.HostNetwork && (spec.Sandbox != "" || len(spec.Init)+len(spec.Services) > 0):
		return driver.Unsupported(field + "HostNetwork together with Sandbox, Init or Services")
	}
	for _, c := range s.AddCapabilities {
		if !slices.Contains(d.allow.Capabilities, "ALL") && !slices.Contains(d.allow.Capabilities, strings.TrimPrefix(c, "CAP_")) {
			return deny(fmt.Sprintf("AddCapabilities %q", c))
		}
	}
	for in, on := range s.HostPaths {
		if !strings.HasPrefix(in, "/") || !strings.HasPrefix(on, "/") || path.Clean(on) != on {
			return driver.WithClass(errdefs.ErrInvalidArgument, "%sHostPaths %q: both paths must be absolute and clean", field, in)
		}
		if !slices.ContainsFunc(d.allow.HostPaths, func(p string) bool {
			return on == p || strings.HasPrefix(on, strings.TrimSuffix(p, "/")+"/")
		}) {
			return deny(fmt.Sprintf("HostPaths %q", on))
		}
	}
	return nil
}

// networkOf returns the part of a container's configuration that says what it reaches.
func (d *Driver) networkOf(spec *driver.TaskSpec) (*container.HostConfig, error) {
	h := &container.HostConfig{NetworkMode: "bridge"}
	switch {
	case spec.Sandbox != "":
		sandbox, err := d.parse(string(spec.Sandbox))
		if err != nil {
			return nil, err
		}
		h.NetworkMode = container.NetworkMode("container:" + sandbox.container)
		return h, nil
	case spec.Container.Security.HostNetwork:
		h.NetworkMode = "host"
	}
	return h, networkConfig(h, spec.Network)
}

func networkConfig(h *container.HostConfig, n driver.Network) error {
	switch n.Mode {
	case driver.NetworkOwn:
		h.NetworkMode = ownNetwork
	case driver.NetworkNone:
		h.NetworkMode = "none"
	}
	for _, s := range n.DNS {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return driver.WithClass(errdefs.ErrInvalidArgument, "Network.DNS %q: is no IP address", s)
		}
		h.DNS = append(h.DNS, a)
	}
	for _, name := range slices.Sorted(maps.Keys(n.Hosts)) {
		if _, err := netip.ParseAddr(n.Hosts[name]); err != nil || name == "" || strings.ContainsAny(name, ": \t\n") {
			return driver.WithClass(errdefs.ErrInvalidArgument, "Network.Hosts %q: must be a name with an IP address, not %q", name, n.Hosts[name])
		}
		h.ExtraHosts = append(h.ExtraHosts, name+":"+n.Hosts[name])
	}
	return nil
}

// logConfig makes the daemon keep every byte: nothing rotates away, nothing is dropped when the disk is slow,
// whatever the daemon's own defaults are.
var logConfig = container.LogConfig{
	Type:   "local",
	Config: map[string]string{"max-size": "1p", "max-file": "1", "compress": "false", "mode": "blocking"},
}

// hostConfig completes network, what networkOf returned, with all else of a container.
func hostConfig(c *driver.Container, network container.HostConfig, volumes map[driver.VolumeID]string) *container.HostConfig {
	h, s := network, &c.Security
	h.LogConfig = logConfig
	h.Privileged, h.ReadonlyRootfs = s.Privileged, s.ReadOnlyRoot
	h.CapDrop = []string{"ALL"}
	if !s.DropAll {
		h.CapAdd = slices.Clone(driver.DefaultCapabilities)
	}
	h.CapAdd = append(h.CapAdd, s.AddCapabilities...)
	if !s.AllowNewPrivileges && !s.Privileged {
		h.SecurityOpt = []string{"no-new-privileges"}
	}
	r := c.Resources
	if r.CPU > 0 {
		h.CPUPeriod, h.CPUQuota = 100_000, max(r.CPU*100, 1000) // microseconds; 1000 is the least that the kernel takes
	}
	h.Memory, h.MemorySwap = r.Memory, r.Memory
	if r.PIDs > 0 {
		h.PidsLimit = &r.PIDs
	}
	for _, m := range c.Mounts {
		h.Mounts = append(h.Mounts, mount.Mount{
			Type: mount.TypeVolume, Source: volumes[m.Volume], Target: m.Path, ReadOnly: m.ReadOnly,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true, Subpath: m.SubPath},
		})
	}
	for _, in := range slices.Sorted(maps.Keys(s.HostPaths)) {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: s.HostPaths[in], Target: in})
	}
	return &h
}

// config is the part of a container's configuration that moves with it from host to host.
func config(c *driver.Container, labels map[string]string) *container.Config {
	cfg := &container.Config{
		Image: c.Image, User: c.User, WorkingDir: c.Dir, Labels: labels,
		Entrypoint: c.Entrypoint, Cmd: c.Args,
		StopSignal:  "SIGTERM",                                       // whatever the image says
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, // nobody would look at it
	}
	if c.Entrypoint != nil && len(c.Entrypoint) == 0 {
		cfg.Entrypoint = []string{""} // how the API says: none
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		cfg.Env = append(cfg.Env, k+"="+c.Env[k])
	}
	return cfg
}
