package kubernetes

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// part is a container of a task, with what it is.
type part struct {
	*driver.Container
	id    string // the name in the pod
	name  string // in the contract
	field string // in the spec
	kind  wire.Kind
	ready driver.Ready
}

// parts are the containers in the order of their starts.
func parts(spec *driver.TaskSpec) []part {
	var all []part
	for i := range spec.Init {
		c := &spec.Init[i]
		all = append(all, part{Container: c, id: fmt.Sprint("init-", i), name: c.Name, field: fmt.Sprintf("Init[%d]", i), kind: wire.Init})
	}
	for i := range spec.Services {
		s := &spec.Services[i]
		all = append(all, part{Container: &s.Container, id: fmt.Sprint("service-", i), name: s.Name, field: fmt.Sprintf("Services[%d].Container", i), kind: wire.Service, ready: s.Ready})
	}
	return append(all, part{Container: &spec.Container, id: driver.MainContainer, name: driver.MainContainer, field: "Container", kind: wire.Main})
}

// refuse reports what this driver cannot honour, or this installation does not allow.
func (d *Driver) refuse(spec *driver.TaskSpec) error {
	switch {
	case spec.Sandbox != "":
		return driver.Unsupported("Sandbox")
	case spec.Network.Mode != driver.NetworkDefault:
		return driver.Unsupported("Network.Mode")
	}
	if sa, allow := spec.Placement.ServiceAccount, d.cfg.Allow.ServiceAccounts; sa != "" && sa != "default" && sa != d.cfg.ServiceAccount && !slices.Contains(allow, "*") && !slices.Contains(allow, sa) {
		return driver.WithClass(errdefs.ErrPermissionDenied, "Placement.ServiceAccount %q is not allowed by this installation; its owner may allow it in the driver's configuration", sa)
	}
	for _, p := range parts(spec) {
		if _, err := reference.ParseNormalizedNamed(p.Image); err != nil {
			return driver.WithClass(errdefs.ErrInvalidArgument, "%s.Image %q: %v", p.field, p.Image, err)
		}
		switch {
		case p.Platform != "":
			return driver.Unsupported(p.field + ".Platform")
		case p.Resources.PIDs != 0:
			return driver.Unsupported(p.field + ".Resources.PIDs")
		}
		for _, m := range p.Mounts {
			if m.Path == wire.Shared || strings.HasPrefix(m.Path, wire.Shared+"/") {
				return driver.WithClass(errdefs.ErrInvalidArgument, "%s.Mounts: %s is the helper's", p.field, m.Path)
			}
		}
		if err := d.allowed(&p.Security, p.field+".Security."); err != nil {
			return err
		}
	}
	return nil
}

// allowed refuses what goes beyond the safe choice and beyond the installation's policy.
func (d *Driver) allowed(s *driver.Security, field string) error {
	deny := func(what string) error {
		return driver.WithClass(errdefs.ErrPermissionDenied, "%s%s is not allowed by this installation; its owner may allow it in the driver's configuration", field, what)
	}
	allow := d.cfg.Allow
	switch {
	case s.Privileged && !allow.Privileged:
		return deny("Privileged")
	case s.HostNetwork && !allow.HostNetwork:
		return deny("HostNetwork")
	case s.AllowNewPrivileges && !allow.NewPrivileges:
		return deny("AllowNewPrivileges")
	}
	for _, c := range s.AddCapabilities {
		if !slices.Contains(allow.Capabilities, "ALL") && !slices.Contains(allow.Capabilities, strings.TrimPrefix(c, "CAP_")) {
			return deny(fmt.Sprintf("AddCapabilities %q", c))
		}
	}
	for in, on := range s.HostPaths {
		if !strings.HasPrefix(in, "/") || !strings.HasPrefix(on, "/") || path.Clean(on) != on {
			return driver.WithClass(errdefs.ErrInvalidArgument, "%sHostPaths %q: both paths must be absolute and clean", field, in)
		}
		if !slices.ContainsFunc(allow.HostPaths, func(p string) bool {
			return on == p || strings.HasPrefix(on, strings.TrimSuffix(p, "/")+"/")
		}) {
			return deny(fmt.Sprintf("HostPaths %q", on))
		}
	}
	return nil
}

// Names of volumes in a pod.
const (
	volShared  = "wharf"
	volPrivate = "keeper"
	volGiven   = "given"
	volSecrets = "secrets"
	volAccount = "account"
)

// defaults says, by container, how much of its command the image gives: its entrypoint, and its command.
type defaults map[string]fromImage

type fromImage struct {
	ID  string // of the container in the pod
	Cmd bool   `json:",omitempty"`
}

// buildPod returns the pod of a task. Claims are those of the volumes, by handle.
func (d *Driver) buildPod(spec *driver.TaskSpec, claims map[driver.VolumeID]*core.PersistentVolumeClaim) (*core.Pod, error) {
	meta, err := d.object(kindTask, spec.Name, spec.Labels)
	if err != nil {
		return nil, err
	}
	maps.Copy(meta.Labels, selectable(spec.Labels))
	meta.Annotations[noteMade] = strings.ToLower(rand.Text())
	meta.Annotations[noteAt] = fmt.Sprint(time.Now().UnixNano())
	pod := &core.Pod{ObjectMeta: meta}
	b := &builder{d: d, spec: spec, pod: pod, claims: claims, defaults: defaults{}}
	b.base()
	b.network()
	if err := b.place(); err != nil {
		return nil, err
	}
	if err := b.keeper(); err != nil {
		return nil, err
	}
	for _, p := range parts(spec) {
		pod.Spec.Containers = append(pod.Spec.Containers, b.container(p))
	}
	text, err := json.Marshal(b.defaults)
	if err != nil {
		return nil, err
	}
	pod.Annotations[noteDefaults] = string(text)
	return pod, nil
}

type builder struct {
	d        *Driver
	spec     *driver.TaskSpec
	pod      *core.Pod
	claims   map[driver.VolumeID]*core.PersistentVolumeClaim
	defaults defaults
}

func (b *builder) volume(name string, src core.VolumeSource) {
	for _, v := range b.pod.Spec.Volumes {
		if v.Name == name {
			return
		}
	}
	b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, core.Volume{Name: name, VolumeSource: src})
}

func emptyDir() core.VolumeSource { return core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}} }

func (b *builder) base() {
	s := &b.pod.Spec
	s.RestartPolicy = core.RestartPolicyNever
	s.EnableServiceLinks = new(bool)
	s.AutomountServiceAccountToken = new(bool) // see account
	s.SecurityContext = &core.PodSecurityContext{SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}}
	for _, name := range b.d.cfg.PullSecrets {
		s.ImagePullSecrets = append(s.ImagePullSecrets, core.LocalObjectReference{Name: name})
	}
	if len(credentials(b.spec)) > 0 {
		s.ImagePullSecrets = append(s.ImagePullSecrets, core.LocalObjectReference{Name: secretName(b.pod, registrySuffix)})
	}
	if b.d.cfg.Gate {
		s.SchedulingGates = append(s.SchedulingGates, core.PodSchedulingGate{Name: gateStart})
		b.pod.Annotations[noteGated] = "true"
	}
	if b.needsSecrets() {
		s.SchedulingGates = append(s.SchedulingGates, core.PodSchedulingGate{Name: gateComplete})
	}
	b.volume(volShared, emptyDir())
	b.volume(volPrivate, emptyDir())
	for _, claim := range b.claims {
		b.volume(claim.Name, sourceOf(claim))
		b.pod.Labels[labelVolume+claim.Name] = ""
		pin(b.pod, claim)
	}
}

// needsSecrets reports whether there are Secrets to be made before the pod is scheduled.
func (b *builder) needsSecrets() bool { return len(b.spec.Secrets) > 0 || len(credentials(b.spec)) > 0 }

func (b *builder) network() {
	s, n := &b.pod.Spec, b.spec.Network
	s.Hostname = n.Hostname
	if len(n.DNS) > 0 {
		s.DNSPolicy, s.DNSConfig = core.DNSNone, &core.PodDNSConfig{Nameservers: n.DNS}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Hosts)) {
		s.HostAliases = append(s.HostAliases, core.HostAlias{IP: n.Hosts[name], Hostnames: []string{name}})
	}
	for _, p := range parts(b.spec) {
		s.HostNetwork = s.HostNetwork || p.Security.HostNetwork
	}
}

func (b *builder) place() error {
	s, p, cfg := &b.pod.Spec, b.spec.Placement, &b.d.cfg
	s.NodeSelector = maps.Clone(cfg.NodeSelector)
	if s.NodeSelector == nil {
		s.NodeSelector = map[string]string{}
	}
	maps.Copy(s.NodeSelector, p.NodeSelector)
	s.ServiceAccountName = p.ServiceAccount
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = cfg.ServiceAccount
	}
	var err error
	s.Tolerations, err = tolerations(slices.Concat(cfg.Tolerations, p.Tolerations))
	return err
}

// keeper adds the keeper's container.
func (b *builder) keeper() error {
	plan := wire.Plan{}
	for _, p := range parts(b.spec) {
		box := wire.Box{Name: p.name, Kind: p.kind}
		if p.ready.TCP != 0 || len(p.ready.Exec) > 0 {
			box.Ready = wire.Ready{TCP: p.ready.TCP, Exec: p.ready.Exec, Timeout: readyTimeout(p.ready)}
		}
		plan.Boxes = append(plan.Boxes, box)
	}
	c := b.d.keeperContainer()
	c.VolumeMounts = []core.VolumeMount{{Name: volShared, MountPath: wire.Shared}, {Name: volPrivate, MountPath: wire.Private}}
	for i, s := range b.spec.Secrets {
		mode := s.Mode
		if mode == 0 {
			mode = 0o400
		}
		plan.Secrets = append(plan.Secrets, wire.Secret{File: strconv.Itoa(i), Mode: mode, UID: s.UID})
	}
	if len(b.spec.Secrets) > 0 {
		b.secrets(&c)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	c.Env = []core.EnvVar{{Name: wire.PlanVariable, Value: strings.ReplaceAll(string(text), "$", "$$")}}
	c.Lifecycle = &core.Lifecycle{PostStart: &core.LifecycleHandler{Exec: &core.ExecAction{Command: []string{"/helper", "await"}}}}
	b.pod.Spec.Containers = append(b.pod.Spec.Containers, c)
	return nil
}

func readyTimeout(r driver.Ready) time.Duration {
	if r.Timeout == 0 {
		return time.Minute
	}
	return r.Timeout
}

// keeperContainer is a container of the helper that may do nothing that its work does not need.
func (d *Driver) keeperContainer() core.Container {
	yes, no, user := true, false, int64(65532)
	return core.Container{
		Name: keeper, Image: d.cfg.HelperImage, ImagePullPolicy: core.PullIfNotPresent, Command: []string{"/helper", "keep"},
		SecurityContext: &core.SecurityContext{
			RunAsUser: &user, RunAsGroup: &user, RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}},
		},
		Resources: core.ResourceRequirements{Requests: amounts(0, 0, true)},
	}
}

// secrets lets the keeper make files of the secrets. They belong to who they must belong to from the beginning if that is one user, and else
// the keeper needs to be root.
func (b *builder) secrets(c *core.Container) {
	b.volume(volGiven, core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: secretName(b.pod, secretSuffix)}})
	b.volume(volSecrets, core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{Medium: core.StorageMediumMemory}})
	c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: volGiven, MountPath: wire.Given, ReadOnly: true}, core.VolumeMount{Name: volSecrets, MountPath: wire.Secrets})
	uid := int64(b.spec.Secrets[0].UID)
	for _, s := range b.spec.Secrets {
		if int64(s.UID) != uid {
			uid = 0
		}
	}
	sc, no := c.SecurityContext, false
	sc.RunAsUser, sc.RunAsGroup = &uid, nil
	if uid == 0 {
		sc.RunAsNonRoot, sc.RunAsGroup = &no, &uid
		sc.Capabilities.Add = []core.Capability{"CHOWN"}
		if b.tokenOfAnother() {
			sc.RunAsUser, sc.RunAsGroup = nil, nil // the image's, which is root
		}
	}
}

// tokenOfAnother reports whether the helper, as root, runs a command as another user that is to read the token of an account. Where the spec of each
// container says root, the kubelet lets nobody else read it.
func (b *builder) tokenOfAnother() bool {
	c := &b.spec.Container
	return b.spec.Placement.ServiceAccount != "" && userOf(c.User, c.Security.NonRoot).name != ""
}

// amounts are resources as Kubernetes has them; all says that zero is one of them, and not none.
func amounts(cpu, memory int64, all bool) core.ResourceList {
	list := core.ResourceList{}
	set := func(name core.ResourceName, q resource.Quantity, n int64) {
		if n > 0 || all {
			list[name] = q
		}
	}
	set(core.ResourceCPU, milli(cpu), cpu)
	set(core.ResourceMemory, bytes(memory), memory)
	return list
}
