package driver

import (
	"slices"
	"time"
)

// MainContainer is the name of a task's main container in logs and results. No init
// container or service may have it.
const MainContainer = "main"

// TaskSpec describes a task. The zero value of each field is documented at the
// field, and is the safe choice.
type TaskSpec struct {
	// Name is unique among the owner's tasks, those that have ended and are not yet
	// removed included; see [ValidName].
	Name string
	// Labels are stored with the task and found by [ListOptions]; see [ValidLabels].
	Labels map[string]string
	// Container is the main container; its Name is not used.
	Container Container
	// Init are the containers that run before it, one after another. The first
	// that does not exit with 0 ends the task as [InitFailed].
	Init []Container
	// Services run beside the main container. They are started after the init
	// containers, and are ended when the main container has ended: by TERM, and by KILL if that does not help. Their end
	// is no failure then, and what they print until then is in the log. The others reach them on localhost, and
	// by name where Network.Hosts gives them one.
	Services []Service
	// Network is what the containers reach; the zero value is [NetworkDefault].
	Network Network
	// Sandbox, if set, is the network namespace to use, made by [CreateSandbox]; Network must
	// be the zero value then. At most one task of those that share a sandbox runs at
	// a time: the caller sees to it. It needs [Capabilities].Sandboxes.
	Sandbox SandboxID
	// Secrets are files in the containers of the task, kept out of what the runtime shows.
	Secrets []Secret
	// Placement is for runtimes with more than one node.
	Placement Placement
}

// Container is one container of a task.
type Container struct {
	// Name is unique within the task: one to 63 of a–z, 0–9 and hyphen, not
	// beginning or ending with a hyphen. Empty for the main container.
	Name string
	// Image is a reference, such as "alpine:3" or "registry.example/app@sha256:…".
	Image string
	// Pull says when the image is fetched; the zero value is [PullIfNotPresent].
	Pull PullPolicy
	// Credentials for the registry; nil for none.
	Credentials *Credentials
	// Platform such as "linux/arm64"; empty is the runtime's own.
	Platform string
	// Entrypoint replaces the image's entrypoint if it is not nil, and then the image's
	// command is not used either.
	Entrypoint []string
	// Args replaces the image's command if it is not nil. Entrypoint and Args make
	// up the argument vector, exactly as given: nothing is expanded. They are UTF-8: the
	// runtimes' configuration is JSON, which holds no other bytes.
	Args []string
	// Env is added to the image's environment, and overrides it. Names must not be
	// empty nor hold "=" or NUL; values must not hold NUL. Both are UTF-8.
	Env map[string]string
	// Dir is the working directory, absolute; empty is the image's. A directory that does not
	// exist is made, as far as the file system lets, or the task ends as [StartFailed].
	Dir string
	// User is "name", "uid", "name:group" or "uid:gid"; empty is the image's. An
	// unknown name ends the task as StartFailed.
	User string
	// Mounts are the volumes in this container.
	Mounts []Mount
	// Resources are limits and requests; the zero value sets none.
	Resources Resources
	// Security is what the container may do; the zero value is the safe choice.
	Security Security
}

// Service is a container that runs beside the main one.
type Service struct {
	Container
	// Ready says when the main container may start; the zero value is: at once
	// when the service's process has been started.
	Ready Ready
}

// Ready is a check. At most one of TCP and Exec is set.
type Ready struct {
	// TCP is a port, 1 to 65535, that must accept a connection on localhost.
	TCP int
	// Exec is a command that must exit with 0 inside the service's container.
	Exec []string
	// Timeout is how long the check may fail before the task ends as
	// [ServiceFailed]. Zero is one minute.
	Timeout time.Duration
}

// Mount puts a volume into a container.
type Mount struct {
	// Volume is the volume's handle.
	Volume VolumeID
	// Path is where it appears: absolute, clean, not "/".
	Path string
	// SubPath is a directory inside the volume, relative and without "..", that is mounted in
	// place of its root. It is made if it does not exist.
	SubPath string
	// ReadOnly refuses writes.
	ReadOnly bool
}

// Network says what a task reaches and who reaches it: it holds for each of its containers. Every running task
// has a network namespace of its own in every mode.
type Network struct {
	// Mode is one of the constants below.
	Mode NetworkMode
	// DNS are the addresses of the name servers to use; empty is the runtime's choice.
	DNS []string
	// Hosts are further names, each with its address, for /etc/hosts.
	Hosts map[string]string
	// Hostname is the containers' host name; empty is the runtime's choice.
	Hostname string
}

// NetworkMode is how a task is connected.
type NetworkMode uint8

const (
	// NetworkDefault: the runtime's default network, with ways out. Other
	// tasks there may be reachable.
	NetworkDefault NetworkMode = iota
	// NetworkOwn: ways out, but no other task reaches this one, nor the other way round. There is room for many such
	// tasks at once, more than a runtime has address pools.
	NetworkOwn
	// NetworkNone: localhost only.
	NetworkNone
)

// Secret is a file that must not be seen from outside of the task.
type Secret struct {
	// Name says what it is, in errors; the value never appears there.
	Name string
	// Path is the absolute path of the file in each container that has it. Directories that are missing are made, for all to enter (mode 0755).
	Path string
	// Containers are the names of the containers that have the file, [MainContainer] for the main one; the others do not see it. Empty is all.
	Containers []string
	// Value is the file's content, at most 1 MiB.
	Value []byte
	// Mode is the file's permission bits; zero is 0400. The file belongs to UID.
	Mode uint32
	// UID is the numeric owner of the file.
	UID int
}

// In reports whether a container of that name has the secret; the main one's is [MainContainer].
func (s *Secret) In(container string) bool {
	return len(s.Containers) == 0 || slices.Contains(s.Containers, container)
}

// SecretsOf returns the secrets that a container of that name has; the main one's is [MainContainer].
func (s *TaskSpec) SecretsOf(container string) []Secret {
	var of []Secret
	for _, secret := range s.Secrets {
		if secret.In(container) {
			of = append(of, secret)
		}
	}
	return of
}

// Resources are a container's limits and requests. Zero is none.
type Resources struct {
	// CPU is the limit in thousandths of a processor.
	CPU int64
	// Memory is the limit in bytes; beyond it the kernel kills ([OutOfMemory]). Swap is not added to it.
	Memory int64
	// PIDs is the limit of processes and threads.
	PIDs int64
	// CPURequest and MemoryRequest are for a scheduler, in the same units; runtimes
	// without one accept and ignore them, for there is nothing to honour.
	CPURequest, MemoryRequest int64
}

// Security is what a container may do. With the zero value it has no privilege,
// gains none by set-uid programs, keeps only the capabilities of [DefaultCapabilities], and sees
// nothing of the host. What goes beyond that is refused by Create with
// PermissionDenied unless the driver's configuration, which belongs to the installation, allows it. That holds for every
// container of a task.
type Security struct {
	// ReadOnlyRoot mounts the root file system read-only.
	ReadOnlyRoot bool
	// NonRoot refuses to run as user 0: the task ends as StartFailed.
	NonRoot bool
	// DropAll drops every capability, the default ones included.
	DropAll bool
	// AddCapabilities, such as "NET_ADMIN", beyond the default ones.
	AddCapabilities []string
	// AllowNewPrivileges lets set-uid programs work.
	AllowNewPrivileges bool
	// Privileged gives everything.
	Privileged bool
	// HostNetwork uses the network namespace of the host.
	HostNetwork bool
	// HostPaths are directories, sockets or devices of the host, by path in the container.
	HostPaths map[string]string
}

// DefaultCapabilities are the Linux capabilities that a container has by default:
// what package managers and builds need to change owners, modes and users inside their own root.
var DefaultCapabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT"}

// Placement is for runtimes that choose among nodes; drivers whose
// [Capabilities].Placement is false refuse every field.
type Placement struct {
	// NodeSelector are labels that the node must have.
	NodeSelector map[string]string
	// Tolerations are taints, "key", "key=value" or "key=value:effect", that are no hindrance.
	Tolerations []string
	// ServiceAccount is the identity of the task towards the runtime; its credentials are in the main container alone.
	ServiceAccount string
}

// PullPolicy says when an image is fetched from its registry.
type PullPolicy uint8

const (
	// PullIfNotPresent fetches an image that the runtime does not have. For one that it has, the registry is not asked.
	PullIfNotPresent PullPolicy = iota
	// PullAlways asks the registry each time.
	PullAlways
	// PullNever uses what the runtime has; NotFound if it has not. The registry is not asked.
	PullNever
)

// String returns the policy as it is written in settings: "if-not-present", "always", "never".
func (p PullPolicy) String() string {
	return [...]string{"if-not-present", "always", "never", "unknown"}[min(int(p), 3)]
}

// Credentials are for a registry. They never appear in errors or in what the
// runtime shows.
type Credentials struct {
	// Username and Password, or Token, an identity token that stands for both.
	Username, Password, Token string
}
