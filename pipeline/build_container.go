package pipeline

import "strings"

// container fills a step of the type container with all that only this type has.
func (b *builder) container(out *Step) {
	c := &Container{
		Image:                 b.text("image", ""),
		Script:                strings.Join(b.node.at(keyCmds).strs(), "\n"),
		OS:                    b.text("os", Linux),
		Env:                   b.node.at("env").strMap(),
		SecretName:            b.text("secretName", ""),
		ServiceAccount:        b.text("serviceAccount", "default"),
		CertificatesMountPath: b.text("certificatesMountPath", ""),
		User:                  b.text("user", ""),
	}
	c.Shell = b.text("shell", map[string]string{Linux: defaultShell, Windows: defaultWindowsShell}[c.OS])
	b.scope.spend(b.step.pos, len(c.Script))
	out.Container = c
	out.Timeout = b.node.duration("timeout")
	out.Retry = retry(b.node.at("retry"))
	out.Artifacts = b.node.at("artifacts").strs()
	if list := b.node.at("cache"); list != nil {
		for _, n := range list.items {
			out.Cache = append(out.Cache, Cache{Path: n.at("path").str(), Key: n.at("key").str()})
		}
	}
	if services := b.node.at("services"); services != nil {
		for _, e := range services.entries {
			out.Services = append(out.Services, service(e))
		}
	}
	out.Resources = resources(b.node.at("resources"))
}

func (n *node) duration(key string) Duration {
	d, _ := parseDuration(n.at(key).str())
	return d
}

func retry(n *node) Retry {
	if n == nil {
		return Retry{}
	}
	count, on := n, []RetryOn{RetryOnInfrastructure}
	if n.form == mapping {
		count = n.at("count")
		if list := n.at("on"); list != nil {
			on = nil
			for _, s := range list.strs() {
				on = append(on, RetryOn(s))
			}
		}
	}
	r := Retry{}
	if r.Count, _ = count.int(); r.Count > 0 {
		r.On = on
	}
	return r
}

func service(e entry) Service {
	n := e.value
	s := Service{
		Name:    e.key,
		Image:   n.at("image").str(),
		Env:     n.at("env").strMap(),
		Script:  strings.Join(n.at(keyCmds).strs(), "\n"),
		Timeout: n.duration("timeout"),
	}
	ready := n.at("ready")
	s.Ready.TCP, _ = ready.at("tcp").int()
	s.Ready.Exec = ready.at("exec").strs()
	return s
}

func resources(n *node) Resources {
	var r Resources
	r.CPU, _ = parseCPU(n.at("cpu").str())
	r.Memory, _ = parseMemory(n.at("memory").str())
	r.CPULimit, r.MemoryLimit = r.CPU, r.Memory
	limits := n.at("limits")
	if v, err := parseCPU(limits.at("cpu").str()); err == nil {
		r.CPULimit = v
	}
	if v, err := parseMemory(limits.at("memory").str()); err == nil {
		r.MemoryLimit = v
	}
	return r
}
