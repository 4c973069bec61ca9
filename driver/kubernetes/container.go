package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// container returns a container of the task: its command is the helper, which runs the task's.
func (b *builder) container(p part) core.Container {
	cfg := &b.d.cfg
	res := p.Resources
	if res.CPU == 0 {
		res.CPU = cfg.Limits.CPU
	}
	if res.Memory == 0 {
		res.Memory = cfg.Limits.Memory
	}
	if res.CPURequest == 0 {
		res.CPURequest = clamp(cfg.Requests.CPU, res.CPU)
	}
	if res.MemoryRequest == 0 {
		res.MemoryRequest = clamp(cfg.Requests.Memory, res.Memory)
	}
	user := userOf(p.User, p.Security.NonRoot)
	c := core.Container{
		Name: p.id, Image: p.Image, ImagePullPolicy: pullPolicy(p.Pull),
		Resources:       core.ResourceRequirements{Requests: amounts(res.CPURequest, res.MemoryRequest, true), Limits: amounts(res.CPU, res.Memory, false)},
		SecurityContext: securityContext(&p.Security, user),
	}
	c.Command, c.Args = b.command(p, user), escapeAll(slices.Concat(p.Entrypoint, p.Args))
	if p.Entrypoint == nil {
		b.defaults[p.name] = fromImage{ID: p.id, Cmd: p.Args == nil}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		c.Env = append(c.Env, core.EnvVar{Name: name, Value: escape(p.Env[name])})
	}
	b.mounts(&c, p)
	return c
}

// clamp keeps a request that the configuration makes below a limit that the spec makes.
func clamp(request, limit int64) int64 {
	if limit > 0 {
		return min(request, limit)
	}
	return request
}

// escape keeps Kubernetes from replacing $(NAME).
func escape(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func escapeAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = escape(s)
	}
	return out
}

func (b *builder) command(p part, user runAs) []string {
	cmd := []string{wire.Program, "run", p.name}
	if user.name != "" {
		cmd = append(cmd, "-user", escape(user.name))
	}
	if p.Dir != "" {
		cmd = append(cmd, "-dir", escape(p.Dir))
	}
	if p.Security.NonRoot {
		cmd = append(cmd, "-nonroot")
	}
	if b.hasAccount(p) {
		cmd = append(cmd, "-api")
	}
	if _, ok := p.Env["HOME"]; ok {
		cmd = append(cmd, "-home")
	}
	return append(cmd, "--")
}

func pullPolicy(p driver.PullPolicy) core.PullPolicy {
	return [...]core.PullPolicy{core.PullIfNotPresent, core.PullAlways, core.PullNever}[min(p, driver.PullNever)]
}

// runAs is a user as Kubernetes can have it, or as the helper has to take it on.
type runAs struct {
	uid, gid *int64
	name     string // for the helper, which is root then
}

// userOf leaves it to the helper to become the user: as root it can copy files of any owner. With NonRoot nothing in the container is root,
// the helper included, as clusters may demand of pods; that takes a number.
func userOf(s string, nonRoot bool) runAs {
	if s == "" {
		return runAs{}
	}
	user, group, hasGroup := strings.Cut(s, ":")
	uid, errUser := strconv.ParseInt(user, 10, 32)
	gid, errGroup := strconv.ParseInt(group, 10, 32)
	switch {
	case errUser != nil || uid < 0 || hasGroup && (errGroup != nil || gid < 0), uid != 0 && !nonRoot:
		var root int64
		return runAs{uid: &root, gid: &root, name: s}
	case hasGroup:
		return runAs{uid: &uid, gid: &gid}
	}
	return runAs{uid: &uid}
}

func securityContext(s *driver.Security, user runAs) *core.SecurityContext {
	yes := true
	sc := &core.SecurityContext{RunAsUser: user.uid, RunAsGroup: user.gid, ReadOnlyRootFilesystem: &s.ReadOnlyRoot, AllowPrivilegeEscalation: &s.AllowNewPrivileges}
	if s.Privileged {
		sc.Privileged, sc.AllowPrivilegeEscalation = &yes, &yes
		return sc
	}
	if s.NonRoot && user.uid != nil && *user.uid != 0 {
		sc.RunAsNonRoot = &yes
	}
	sc.Capabilities = &core.Capabilities{Drop: []core.Capability{"ALL"}}
	add := func(names ...string) {
		for _, name := range names {
			sc.Capabilities.Add = append(sc.Capabilities.Add, core.Capability(strings.TrimPrefix(name, "CAP_")))
		}
	}
	switch {
	case !s.DropAll:
		add(driver.DefaultCapabilities...)
	case user.name != "":
		add("SETUID", "SETGID", "KILL", "CHOWN") // for the helper; the command, which is not root, has none
	}
	add(s.AddCapabilities...)
	if slices.Contains(sc.Capabilities.Add, "SYS_ADMIN") || slices.Contains(sc.Capabilities.Add, "ALL") {
		sc.AllowPrivilegeEscalation = &yes // Kubernetes takes the one for the other
	}
	return sc
}

// mounts adds what the container sees of volumes, secrets and the node.
func (b *builder) mounts(c *core.Container, p part) {
	c.VolumeMounts = []core.VolumeMount{{Name: volShared, MountPath: wire.Shared}}
	for _, m := range p.Mounts {
		c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: b.claims[m.Volume].Name, MountPath: m.Path, SubPath: m.SubPath, ReadOnly: m.ReadOnly})
	}
	for i, s := range b.spec.Secrets {
		if !s.In(p.name) {
			continue
		}
		c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: volSecrets, MountPath: s.Path, SubPath: strconv.Itoa(i), ReadOnly: true})
	}
	for i, in := range slices.Sorted(maps.Keys(p.Security.HostPaths)) {
		name := fmt.Sprintf("host-%s-%d", p.id, i)
		b.volume(name, core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: p.Security.HostPaths[in]}})
		c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: name, MountPath: in})
	}
	if b.hasAccount(p) {
		b.account(c)
	}
}

// hasAccount reports whether the container gets the credentials of the task's service account. Those beside the main one do not: a clone, say, talks
// to servers that nobody vouches for.
func (b *builder) hasAccount(p part) bool {
	return p.kind == wire.Main && b.spec.Placement.ServiceAccount != ""
}

// accountPath is where clients of the API server look for credentials.
const accountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// account mounts the credentials as the API server would in every container of the pod: not where the caller has mounted something else.
func (b *builder) account(c *core.Container) {
	if slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == accountPath }) {
		return
	}
	// A little more than an hour: by this number the API server knows clients that do not read a renewed token, and bears with them.
	seconds, mode := int64(3607), core.ProjectedVolumeSourceDefaultMode
	b.volume(volAccount, core.VolumeSource{Projected: &core.ProjectedVolumeSource{DefaultMode: &mode, Sources: []core.VolumeProjection{
		{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &core.ConfigMapProjection{
			LocalObjectReference: core.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []core.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &core.DownwardAPIProjection{Items: []core.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &core.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
		}}},
	}}})
	c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: volAccount, MountPath: accountPath, ReadOnly: true})
}
