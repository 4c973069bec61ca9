package runc

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver"
)

// imageConfig is what of an image's configuration a container needs.
type imageConfig struct {
	ID         string // the directory below images
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	Dir        string
}

// writeBundle writes config.json. It is the shim that does so, since a file such as /etc/passwd may have been copied in until now.
func (t *task) writeBundle() error {
	c := &t.Spec.Container
	who, err := t.user()
	if err != nil {
		return err
	}
	if c.Security.NonRoot && who.UID == 0 {
		return fmt.Errorf("the container would run as user 0, which NonRoot forbids")
	}
	args := t.args()
	if len(args) == 0 {
		return fmt.Errorf("there is no command: neither the image nor the task names one")
	}
	root, err := filepath.Abs("rootfs")
	if err != nil {
		return err
	}
	spec := specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: root, Readonly: c.Security.ReadOnlyRoot},
		Hostname: t.Spec.Network.Hostname,
		Process: &specs.Process{
			Args: args, Env: t.env(), Cwd: firstOf(c.Dir, t.Image.Dir, "/"), User: who, NoNewPrivileges: true, Capabilities: capabilitiesOf(c),
		},
		Mounts: slices.Concat(systemMounts(), t.nameServers(), t.volumeMounts()),
		Linux: &specs.Linux{
			CgroupsPath: "/wharf-runc/" + t.container(),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if spec.Hostname == "" {
		spec.Hostname = t.Spec.Name
	}
	return writeJSON(".", "config.json", spec)
}

func firstOf(values ...string) string {
	return values[slices.IndexFunc(values, func(v string) bool { return v != "" })]
}

// args are the argument vector: entry point and command, of the task or of the image.
func (t *task) args() []string {
	c := &t.Spec.Container
	entrypoint, args := t.Image.Entrypoint, t.Image.Cmd
	if c.Entrypoint != nil {
		entrypoint, args = c.Entrypoint, nil
	}
	if c.Args != nil {
		args = c.Args
	}
	return slices.Concat(entrypoint, args)
}

// env is the image's environment, overridden by the task's.
func (t *task) env() []string {
	all := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, e := range t.Image.Env {
		name, value, _ := strings.Cut(e, "=")
		all[name] = value
	}
	maps.Copy(all, t.Spec.Container.Env)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// user finds the user in the container's own files.
func (t *task) user() (specs.User, error) {
	root, err := os.OpenRoot("rootfs")
	if err != nil {
		return specs.User{}, err
	}
	defer root.Close()
	passwd, _ := root.ReadFile("etc/passwd") // an image may well have none
	group, _ := root.ReadFile("etc/group")
	u, err := user.GetExecUser(firstOf(t.Spec.Container.User, t.Image.User, "0"), &user.ExecUser{},
		strings.NewReader(string(passwd)), strings.NewReader(string(group)))
	if err != nil {
		return specs.User{}, err
	}
	who := specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	for _, gid := range u.Sgids {
		who.AdditionalGids = append(who.AdditionalGids, uint32(gid))
	}
	return who, nil
}

func capabilitiesOf(c *driver.Container) *specs.LinuxCapabilities {
	if c.Security.DropAll {
		return &specs.LinuxCapabilities{}
	}
	var all []string
	for _, name := range driver.DefaultCapabilities {
		all = append(all, "CAP_"+name)
	}
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}

// systemMounts are what every Linux container finds.
func systemMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
}

// nameServers are those of the machine.
func (t *task) nameServers() []specs.Mount {
	if t.Spec.Network.Mode == driver.NetworkNone || !exists("/etc", "resolv.conf") {
		return nil
	}
	return []specs.Mount{{Destination: "/etc/resolv.conf", Type: "bind", Source: "/etc/resolv.conf", Options: []string{"bind", "ro"}}}
}

func (t *task) volumeMounts() []specs.Mount {
	var mounts []specs.Mount
	for _, m := range t.Spec.Container.Mounts {
		options := []string{"rbind", "rw"}
		if m.ReadOnly {
			options[1] = "ro"
		}
		source := filepath.Join(t.Root, "owners", t.Owner, "volumes", nameOf(string(m.Volume)), "data")
		mounts = append(mounts, specs.Mount{Destination: m.Path, Type: "bind", Source: source, Options: options})
	}
	return mounts
}
