//go:build linux

package containerd

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver"
)

// allowed refuses what goes beyond the safe choice, unless the installation's policy admits it.
func (d *Driver) allowed(c *driver.Container) error {
	s, allow := c.Security, d.cfg.Allow
	refuse := func(field string) error {
		return driver.WithClass(errdefs.ErrPermissionDenied, "Security.%s is not allowed by the configuration of this installation (Allow)", field)
	}
	switch {
	case c.Platform != "":
		return driver.Unsupported("Platform")
	case s.Privileged && !allow.Privileged:
		return refuse("Privileged")
	case s.HostNetwork && !allow.HostNetwork:
		return refuse("HostNetwork")
	case s.AllowNewPrivileges && !allow.NewPrivileges:
		return refuse("AllowNewPrivileges")
	}
	for _, name := range s.AddCapabilities {
		if !slices.Contains(allow.Capabilities, "ALL") && !slices.Contains(allow.Capabilities, strings.TrimPrefix(name, "CAP_")) {
			return refuse("AddCapabilities " + name)
		}
	}
	for _, host := range s.HostPaths {
		if !slices.ContainsFunc(allow.HostPaths, func(p string) bool {
			clean, p := path.Clean(host), path.Clean(p)
			return clean == p || p == "/" || strings.HasPrefix(clean, p+"/")
		}) {
			return refuse("HostPaths " + host)
		}
	}
	return nil
}

// args is the argument vector.
func args(c *driver.Container, image ocispec.ImageConfig) []string {
	entry, cmd := image.Entrypoint, image.Cmd
	if c.Entrypoint != nil {
		entry, cmd = c.Entrypoint, nil
	}
	if c.Args != nil {
		cmd = c.Args
	}
	return slices.Concat(entry, cmd)
}

// environment is the image's, with the container's on top, and a PATH in any case.
func environment(c *driver.Container, image []string) []string {
	all := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range image {
		k, v, _ := strings.Cut(kv, "=")
		all[k] = v
	}
	maps.Copy(all, c.Env)
	var env []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		env = append(env, k+"="+all[k])
	}
	return env
}

// ociSpec is the runtime's specification of a container, but for its user.
func (m *maker) ociSpec(ctx context.Context, id string, c *driver.Container, image ocispec.ImageConfig) (*oci.Spec, error) {
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: id})
	if err != nil {
		return nil, err
	}
	s.Process.Args, s.Process.Env = args(c, image), environment(c, image.Env)
	if len(s.Process.Args) == 0 {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "neither the image %s nor the task has a command", c.Image)
	}
	s.Process.Cwd = firstOf(c.Dir, image.WorkingDir, "/")
	s.Process.Rlimits = nil // those of the daemon
	s.Process.NoNewPrivileges = !c.Security.AllowNewPrivileges && !c.Security.Privileged
	s.Hostname = m.net.hostname
	s.Root.Readonly = c.Security.ReadOnlyRoot
	s.Linux.CgroupsPath = m.cgroup(id)
	capabilities(s, c.Security)
	limits(s, c.Resources)
	m.namespaces(s, c)
	if err := m.mounts(s, c); err != nil {
		return nil, err
	}
	if c.Security.Privileged {
		privileged(s)
	}
	return s, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func capabilities(s *oci.Spec, sec driver.Security) {
	var caps []string
	if !sec.DropAll {
		for _, c := range driver.DefaultCapabilities {
			caps = append(caps, "CAP_"+c)
		}
	}
	for _, c := range sec.AddCapabilities {
		if c = "CAP_" + strings.TrimPrefix(c, "CAP_"); !slices.Contains(caps, c) {
			caps = append(caps, c)
		}
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

func privileged(s *oci.Spec) {
	_ = oci.WithAllCurrentCapabilities(context.Background(), nil, nil, s)
	s.Process.Capabilities.Inheritable = nil
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	for i := range s.Mounts {
		if s.Mounts[i].Type == "sysfs" || s.Mounts[i].Type == "cgroup" {
			s.Mounts[i].Options = slices.DeleteFunc(slices.Clone(s.Mounts[i].Options), func(o string) bool { return o == "ro" })
		}
	}
}

// cpuPeriod is in microseconds.
const cpuPeriod = 100_000

func limits(s *oci.Spec, r driver.Resources) {
	if r.CPU > 0 {
		period, quota := uint64(cpuPeriod), max(r.CPU*cpuPeriod/1000, 1000)
		s.Linux.Resources.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if r.Memory > 0 {
		limit, swap := r.Memory, r.Memory
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
		if swapAccounted() {
			s.Linux.Resources.Memory.Swap = &swap // memory and swap together
		}
	}
	if r.PIDs > 0 {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &r.PIDs}
	}
}

func (m *maker) namespaces(s *oci.Spec, c *driver.Container) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = m.netnsFile(m.net.uid)
		}
	}
	if c.Security.HostNetwork {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	}
}

// nameOf is a container's name in the contract.
func (m *maker) nameOf(c *driver.Container) string {
	if c == &m.spec.Container {
		return driver.MainContainer
	}
	return c.Name
}

func (m *maker) mounts(s *oci.Spec, c *driver.Container) error {
	bind := func(source, dest string, options ...string) {
		s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: source, Destination: dest, Options: append([]string{"rbind", "rprivate"}, options...)})
	}
	s.Mounts = slices.DeleteFunc(s.Mounts, func(mt specs.Mount) bool { return mt.Destination == "/run" })
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		bind(path.Join(m.taskDir(m.h), f), "/etc/"+f, "rw")
	}
	mounts := slices.Clone(c.Mounts)
	slices.SortStableFunc(mounts, func(a, b driver.Mount) int { return strings.Compare(a.Path, b.Path) })
	for _, mt := range mounts {
		source, err := m.mountSource(mt)
		if err != nil {
			return err
		}
		bind(source, mt.Path, map[bool]string{true: "ro", false: "rw"}[mt.ReadOnly])
	}
	for _, dest := range slices.Sorted(maps.Keys(c.Security.HostPaths)) {
		bind(c.Security.HostPaths[dest], dest, "rw")
	}
	for i, secret := range m.spec.Secrets {
		if !secret.In(m.nameOf(c)) {
			continue
		}
		bind(m.secretFile(m.uid, i), path.Clean(secret.Path), "ro", "nosuid", "nodev", "noexec")
	}
	return nil
}
