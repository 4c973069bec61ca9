package driver

// Capabilities says which runtime a driver talks to and what it can do. Each
// ability is tested both ways by the conformance suite: what is claimed works, what is not is refused
// with [ErrUnsupported].
type Capabilities struct {
	// Runtime is the runtime's name and version, such as "docker 20.10.24 (API 1.41)", for a person.
	Runtime string
	// OS and Arch are what images must fit, as in GOOS and GOARCH.
	OS, Arch string

	// Exec, Dial, Events, Pull, Stats, Sandboxes: the optional interfaces work.
	Exec, Dial, Events, Pull, Stats, Sandboxes bool
	// Init and Services: [TaskSpec].Init and Services.
	Init, Services bool
	// NetworkOwn and NetworkNone: these modes; NetworkDefault is always there.
	NetworkOwn, NetworkNone bool
	// DNS, Hosts, Hostname: the fields of [Network].
	DNS, Hosts, Hostname bool
	// VolumeSubPath: [Mount].SubPath. VolumeSize: [VolumeSpec].Size is a limit.
	// VolumeUsage: [Volume].Used is known.
	VolumeSubPath, VolumeSize, VolumeUsage bool
	// CPULimit, MemoryLimit, PIDLimit: the fields of [Resources] hold.
	CPULimit, MemoryLimit, PIDLimit bool
	// Secrets: [TaskSpec].Secrets.
	Secrets bool
	// Platforms: [Container].Platform other than the runtime's own.
	Platforms bool
	// Placement: [TaskSpec].Placement.
	Placement bool
	// Privileged, HostNetwork, HostPaths, AddCapabilities, NewPrivileges: what the
	// installation's configuration allows beyond the safe choice. What it does not allow is
	// PermissionDenied, what the runtime cannot do is ErrUnsupported.
	Privileged, HostNetwork, HostPaths, AddCapabilities, NewPrivileges bool
}
