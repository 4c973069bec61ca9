package pipeline

import (
	"path"
	"strings"
)

// builder fills the typed structs of one step from a tree that was substituted and checked.
type builder struct {
	*planner
	step step
	node *node
}

// text returns the text of a key, or def if it is absent or empty.
func (b *builder) text(key, def string) string {
	if s := b.node.at(key).str(); s != "" {
		return s
	}
	return def
}

// template returns the text of a key, or else what the template def gives.
func (b *builder) template(key, def string) string {
	if s := b.node.at(key).str(); s != "" {
		return s
	}
	return b.fill(key, def)
}

// fill substitutes the default of a key. Its unknown names are warned of at the step.
func (b *builder) fill(key, def string) string {
	if b.scope.spent() {
		return ""
	}
	v, _ := substitute(def, maxText, func(r ref) (Value, bool) {
		v, ok := b.scope.lookup(r.name, ofMatrix)
		if !ok {
			b.missing(key, r)
			return Value{}, false
		}
		return v.value, true
	})
	if !b.scope.spend(b.step.pos, len(v.Text)) {
		return ""
	}
	return v.Text
}

func (b *builder) missing(key string, r ref) {
	to := b.scope.warnings
	if b.scope.strict {
		to = b.report
	}
	to.at(b.scope.source, b.step.pos, "the variable "+quote(r.name)+" is not defined, but the default of "+quote(key)+" needs it").
		Hint = "define it in a .wharf-vars.yml or as WHARF_VAR_" + r.name
}

// optional returns the text of a key, or else the variable of a name, or else def.
func (b *builder) optional(key, name, def string) string {
	if s := b.node.at(key).str(); s != "" {
		return s
	}
	if v, ok := b.scope.lookup(strings.TrimSuffix(strings.TrimPrefix(name, "${"), "}"), ofMatrix); ok && v.value.Text != "" {
		return v.value.Text
	}
	return def
}

// flag returns the boolean of a key, or def.
func (b *builder) flag(key string, def bool) bool {
	if v, ok := b.node.at(key).bool(); ok {
		return v
	}
	return def
}

func (b *builder) docker() *Docker {
	d := &Docker{
		File:       path.Clean(b.text("file", "")),
		Context:    path.Clean(b.text("context", ".")),
		Tags:       splitTags(b.text("tag", "")),
		Push:       b.flag("push", true),
		Secret:     b.optional("secret", templateRegSecret, defaultRegSecret),
		Args:       b.node.at("args").strs(),
		SecretName: b.text("secretName", ""),
		SecretArgs: b.node.at("secretArgs").strs(),
	}
	group := b.optional("group", templateGroup, "")
	d.AppendCert = b.flag("append-cert", strings.HasPrefix(strings.ToLower(group), "default"))
	if d.Destination = b.text("destination", ""); d.Destination != "" {
		return d
	}
	repo := b.fill("destination", templateRepo)
	d.Destination = b.template("registry", templateRegistry) + "/" + b.template("group", templateGroup) + "/" + repo
	if name := b.text("name", b.step.name); name != repo {
		d.Destination += "/" + name
	}
	b.scope.spend(b.step.pos, len(d.Destination))
	return d
}

func (b *builder) helm() *Helm {
	h := &Helm{
		Chart:        b.text("chart", ""),
		Name:         b.text("name", ""),
		Namespace:    b.text("namespace", ""),
		Repo:         b.template("repo", templateChartRepo),
		ChartVersion: b.text("chartVersion", defaultChartVersion),
		HelmVersion:  b.text("helmVersion", ""),
		Cluster:      b.text("cluster", defaultCluster),
		Secret:       b.optional("secret", templateHelmSecret, ""),
		Files:        b.files(b.node.at("files")),
	}
	if set := b.node.at("set"); set != nil && len(set.entries) > 0 {
		h.Set = make(map[string]Value, len(set.entries))
		for _, e := range set.entries {
			h.Set[e.key] = e.value.value().plain()
		}
	}
	return h
}

func (b *builder) helmPackage() *HelmPackage {
	return &HelmPackage{
		Version:     b.text("version", ""),
		ChartPath:   path.Clean(b.text("chart-path", ".")),
		Destination: b.template("destination", templateChartRepo),
		Secret:      b.optional("secret", templateHelmSecret, ""),
	}
}

func (b *builder) kubectl() *Kubectl {
	return &Kubectl{
		Files:     append(b.files(b.node.at("file")), b.files(b.node.at("files"))...),
		Namespace: b.text("namespace", ""),
		Action:    b.text("action", defaultAction),
		Force:     b.flag("force", false),
		Cluster:   b.text("cluster", defaultCluster),
	}
}

func (b *builder) nuget() *NuGetPackage {
	return &NuGetPackage{
		Version:               b.text("version", ""),
		ProjectPath:           path.Clean(b.text("project-path", "")),
		Repo:                  b.text("repo", ""),
		SkipDuplicate:         b.flag("skip-duplicate", false),
		CertificatesMountPath: b.text("certificatesMountPath", ""),
	}
}
