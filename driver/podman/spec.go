package podman

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// supported refuses what Podman cannot honour and what the installation does not allow.
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
	_, err := d.networkOf(ctx, spec, "")
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
			return driver.Unsupported(fmt.Sprintf("%s.Platform %q (the service's own is %q)", field, c.Platform, own))
		}
	}
	info, err := d.info.Do(ctx, d.ask)
	if err != nil {
		return err
	}
	for _, limit := range []struct {
		value            int64
		name, controller string
	}{{c.Resources.CPU, "CPU", "cpu"}, {c.Resources.Memory, "Memory", "memory"}, {c.Resources.PIDs, "PIDs", "pids"}} {
		if limit.value > 0 && !info.controls(limit.controller) {
			return driver.Unsupported(field + ".Resources." + limit.name + " (no delegated control group of version 2)")
		}
	}
	for _, m := range c.Mounts {
		if m.SubPath != "" {
			return driver.Unsupported(field + ".Mounts.SubPath")
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
func (d *Driver) networkOf(ctx context.Context, spec *driver.TaskSpec, uid string) (containerSpec, error) {
	switch {
	case spec.Sandbox != "":
		sandbox, err := d.parse(string(spec.Sandbox))
		return containerSpec{Network: namespace{"container", sandbox.container}}, err
	case spec.Container.Security.HostNetwork:
		c, err := d.networkConfig(ctx, spec.Network, uid)
		c.Network.Mode, c.Networks = "host", nil
		return c, err
	}
	return d.networkConfig(ctx, spec.Network, uid)
}

// networkConfig returns the same for a network of its own; uid names the one of NetworkOwn.
func (d *Driver) networkConfig(ctx context.Context, n driver.Network, uid string) (containerSpec, error) {
	c := containerSpec{Hostname: n.Hostname, DNS: n.DNS}
	info, err := d.info.Do(ctx, d.ask)
	if err != nil {
		return c, err
	}
	switch n.Mode {
	case driver.NetworkDefault:
		if !info.Host.Security.Rootless {
			c.Network.Mode = "bridge"
			c.Networks = map[string]struct{}{sharedNetwork: {}}
		}
	case driver.NetworkOwn:
		if !info.isolates() {
			return c, driver.Unsupported("Network.Mode: a network of its own (NetworkOwn), which this service's netavark, older than 1.5 or of unknown version, does not keep apart from others,")
		}
		c.Network.Mode = "bridge"
		c.Networks = map[string]struct{}{networkName(uid): {}}
	case driver.NetworkNone:
		c.Network.Mode = "none"
	}
	for _, s := range n.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return c, driver.WithClass(errdefs.ErrInvalidArgument, "Network.DNS %q: is no IP address", s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Hosts)) {
		if _, err := netip.ParseAddr(n.Hosts[name]); err != nil || name == "" || strings.ContainsAny(name, ": \t\n") {
			return c, driver.WithClass(errdefs.ErrInvalidArgument, "Network.Hosts %q: must be a name with an IP address, not %q", name, n.Hosts[name])
		}
		c.Hosts = append(c.Hosts, name+":"+n.Hosts[name])
	}
	return c, nil
}

// keepAll makes conmon keep every byte: without a size, what containers.conf says would hold, and a log that has
// grown beyond its size is thrown away.
var keepAll = logConfig{Driver: "k8s-file", Size: 1 << 50}

const sigterm = 15

// fill completes a spec that has a name, labels and a network.
func (s *containerSpec) fill(c *driver.Container, volumes map[driver.VolumeID]string, defaults []string) {
	s.Image, s.User, s.WorkDir, s.MakeWorkDir = c.Image, c.User, c.Dir, true
	s.Entrypoint, s.Command, s.Env = c.Entrypoint, c.Args, c.Env
	s.StopSignal, s.Systemd, s.Log = sigterm, "false", keepAll // whatever the image or the machine says
	s.Health = &healthConfig{Test: []string{"NONE"}}
	sec := &c.Security
	s.Privileged, s.ReadOnlyRoot = sec.Privileged, sec.ReadOnlyRoot
	if !sec.Privileged {
		s.CapDrop, s.CapAdd = capabilities(defaults)
		if sec.DropAll {
			s.CapDrop, s.CapAdd = []string{"ALL"}, nil
		}
		s.CapAdd = append(s.CapAdd, sec.AddCapabilities...)
	}
	s.NoNewPrivileges = !sec.AllowNewPrivileges && !sec.Privileged
	s.Resources = limits(c.Resources)
	for _, m := range c.Mounts {
		options := []string{"rw", "nocopy"}
		if m.ReadOnly {
			options[0] = "ro"
		}
		s.Volumes = append(s.Volumes, volumeMount{volumes[m.Volume], m.Path, options})
	}
	for _, in := range slices.Sorted(maps.Keys(sec.HostPaths)) {
		s.Mounts = append(s.Mounts, bindMount{Destination: in, Source: sec.HostPaths[in], Type: "bind", Options: []string{"rbind", "rw"}})
	}
}

// capabilities returns what to drop of those that the service gives by default, and what to add. Podman gives what is
// added to users other than root, too, who have none otherwise; so nothing is added that is there anyway.
func capabilities(defaults []string) (drop, add []string) {
	for _, c := range defaults {
		if !slices.Contains(driver.DefaultCapabilities, strings.TrimPrefix(c, "CAP_")) {
			drop = append(drop, c)
		}
	}
	for _, c := range driver.DefaultCapabilities {
		if !slices.Contains(defaults, "CAP_"+c) {
			add = append(add, c)
		}
	}
	return drop, add
}

func limits(r driver.Resources) *resources {
	l := &resources{}
	if r.CPU > 0 {
		l.CPU = &cpuLimit{Period: 100_000, Quota: max(r.CPU*100, 1000)} // microseconds; 1000 is the least that the kernel takes
	}
	if r.Memory > 0 {
		l.Memory = &memoryLimit{Limit: r.Memory, Swap: r.Memory}
	}
	if r.PIDs > 0 {
		l.PIDs = &pidLimit{r.PIDs}
	}
	if *l == (resources{}) {
		return nil
	}
	return l
}
