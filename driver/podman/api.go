package podman

import (
	"time"
)

// The parts of the API's objects that this driver reads and writes.

// inspected is a container as the service describes it.
type inspected struct {
	ID      string `json:"Id"`
	Name    string
	Image   string // its id
	Created time.Time
	State   *struct {
		Status     string
		Pid        int
		OOMKilled  bool
		ExitCode   int
		Error      string
		StartedAt  time.Time
		FinishedAt time.Time
	}
	Config *struct {
		User   string
		Labels map[string]string
	}
	HostConfig *struct {
		NetworkMode string
		Memory      int64
	}

	Mounts []struct{ Type, Name, Source, Destination string }

	bereft bool   // its conmon is gone: see monitors
	mark   int    // see marks
	reason string // of the mark
}

// listed is a container in a list.
type listed struct {
	ID      string `json:"Id"`
	Created time.Time
	Names   []string
	Labels  map[string]string
	State   string

	StartedAt int64 // in seconds since 1970; negative: never
}

// States of containers.
const (
	stateCreated     = "created"
	stateConfigured  = "configured"
	stateInitialized = "initialized" // made in the OCI runtime, and not started
	stateRunning     = "running"
	statePaused      = "paused"
	stateStopping    = "stopping"
	stateStopped     = "stopped" // ended, and not yet cleaned up
	stateExited      = "exited"
	stateRemoving    = "removing"
)

// event is something that happened to a container.
type event struct {
	Type   string
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	TimeNano int64 `json:"timeNano"`

	marks string // the beginning of the ID of a container that a mark was set for; see hub.marked
}

// Actions of events.
const (
	actionCreate   = "create"
	actionRename   = "rename"
	actionInit     = "init"
	actionStart    = "start"
	actionDied     = "died"
	actionRemove   = "remove"
	actionKill     = "kill"
	actionStop     = "stop"
	actionMount    = "mount"
	actionUnmount  = "unmount"
	actionAttach   = "attach"
	actionExec     = "exec"
	actionExecDied = "exec_died"
)

// volume is a named volume.
type volume struct {
	Name      string
	Labels    map[string]string
	CreatedAt time.Time
}

// containerSpec makes a container.
type containerSpec struct {
	Name            string              `json:"name"`
	Image           string              `json:"image"`
	Entrypoint      []string            `json:"entrypoint,omitzero"`
	Command         []string            `json:"command,omitzero"`
	Env             map[string]string   `json:"env,omitempty"`
	WorkDir         string              `json:"work_dir,omitempty"`
	MakeWorkDir     bool                `json:"create_working_dir,omitempty"`
	User            string              `json:"user,omitempty"`
	Hostname        string              `json:"hostname,omitempty"`
	Labels          map[string]string   `json:"labels"`
	StopSignal      int                 `json:"stop_signal"`
	Systemd         string              `json:"systemd"`
	Network         namespace           `json:"netns"`
	Networks        map[string]struct{} `json:"networks,omitempty"`
	DNS             []string            `json:"dns_server,omitempty"`
	Hosts           []string            `json:"hostadd,omitempty"`
	CapAdd          []string            `json:"cap_add,omitempty"`
	CapDrop         []string            `json:"cap_drop,omitempty"`
	Privileged      bool                `json:"privileged,omitempty"`
	NoNewPrivileges bool                `json:"no_new_privileges,omitempty"`
	ReadOnlyRoot    bool                `json:"read_only_filesystem,omitempty"`
	Volumes         []volumeMount       `json:"volumes,omitempty"`
	Mounts          []bindMount         `json:"mounts,omitempty"`
	Secrets         []secretMount       `json:"secrets,omitempty"`
	Resources       *resources          `json:"resource_limits,omitempty"`
	Log             logConfig           `json:"log_configuration"`
	SELinux         []string            `json:"selinux_opts,omitempty"`
	Stdin           bool                `json:"stdin,omitempty"`
	Remove          bool                `json:"remove,omitempty"`
	Health          *healthConfig       `json:"healthconfig,omitempty"`
	HTTPProxy       bool                `json:"httpproxy"`
	ImageVolumeMode string              `json:"image_volume_mode,omitempty"`
}

type namespace struct {
	Mode  string `json:"nsmode"`
	Value string `json:"value,omitempty"`
}

type volumeMount struct {
	Name, Dest string
	Options    []string
}

// secretMount has a copy of one of the service's secrets made when the container is, and shown as a file.
type secretMount struct {
	Source, Target string
	UID, Mode      uint32
}

type bindMount struct {
	Destination string   `json:"destination"`
	Source      string   `json:"source"`
	Type        string   `json:"type"`
	Options     []string `json:"options,omitempty"`
}

type resources struct {
	CPU    *cpuLimit    `json:"cpu,omitempty"`
	Memory *memoryLimit `json:"memory,omitempty"`
	PIDs   *pidLimit    `json:"pids,omitempty"`
}

type cpuLimit struct {
	Quota  int64  `json:"quota"`
	Period uint64 `json:"period"`
}

type memoryLimit struct {
	Limit int64 `json:"limit"`
	Swap  int64 `json:"swap"`
}

type pidLimit struct {
	Limit int64 `json:"limit"`
}

type logConfig struct {
	Driver string `json:"driver"`
	Size   int64  `json:"size,omitempty"`
}

type healthConfig struct {
	Test []string
}
