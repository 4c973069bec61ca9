package driver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// ValidName reports why s cannot be the name of a task, volume or sandbox, or nil: one to 63
// of a–z, 0–9, hyphen and dot, beginning and ending with a letter or digit (RFC 1123, as Kubernetes has it).
func ValidName(s string) error {
	return validName(s, "-.")
}

func validName(s, inner string) error {
	if s == "" || len(s) > 63 {
		return invalid("name %q: must have 1 to 63 characters", s)
	}
	for i, r := range []byte(s) {
		alnum := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || !strings.ContainsRune(inner, rune(r))) {
			return invalid("name %q: only a-z, 0-9 and inner %q may be used", s, inner)
		}
	}
	return nil
}

// ValidLabels reports why labels cannot be stored, or nil: keys are one to 63 of letters,
// digits, hyphen, underscore, dot and slash; values are UTF-8 without control characters, of at most
// 200 bytes. Drivers for runtimes that allow less (Kubernetes labels) keep such values elsewhere.
func ValidLabels(labels map[string]string) error {
	for k, v := range labels {
		if k == "" || len(k) > 63 || strings.ContainsFunc(k, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./", r))
		}) {
			return invalid("label %q: a key has 1 to 63 letters, digits, hyphens, underscores, dots and slashes", k)
		}
		if len(v) > 200 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid("label %q: a value is UTF-8 without control characters, of at most 200 bytes", k)
		}
	}
	return nil
}

// Validate reports everything in the spec that no runtime could honour, as InvalidArgument, or nil.
// What a certain runtime cannot honour is the driver's to refuse.
func (s *TaskSpec) Validate() error {
	errs := []error{ValidName(s.Name), ValidLabels(s.Labels)}
	seen := map[string]bool{MainContainer: true}
	check := func(where string, c *Container) {
		if err := c.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	named := func(where string, c *Container) {
		if err := validName(c.Name, "-"); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		if seen[c.Name] {
			errs = append(errs, invalid("%s: the name %q is used twice", where, c.Name))
		}
		seen[c.Name] = true
		check(where, c)
	}
	check("Container", &s.Container)
	for i := range s.Init {
		named(fmt.Sprintf("Init[%d]", i), &s.Init[i])
	}
	for i := range s.Services {
		svc := &s.Services[i]
		named(fmt.Sprintf("Services[%d]", i), &svc.Container)
		if svc.Ready.TCP != 0 && svc.Ready.Exec != nil || svc.Ready.TCP < 0 || svc.Ready.TCP > 65535 || svc.Ready.Timeout < 0 {
			errs = append(errs, invalid("Services[%d].Ready: one of TCP (1 to 65535) and Exec, and no negative Timeout", i))
		}
	}
	if s.Sandbox != "" && !s.Network.isZero() {
		errs = append(errs, invalid("Sandbox: the network belongs to the sandbox; Network must be empty"))
	}
	if s.Network.Mode > NetworkNone {
		errs = append(errs, invalid("Network.Mode: unknown mode %d", s.Network.Mode))
	}
	for i, sec := range s.Secrets {
		if !absolute(sec.Path) || len(sec.Value) > 1<<20 || sec.Mode > 0o777 || sec.UID < 0 {
			errs = append(errs, invalid("Secrets[%d] (%s): needs an absolute path, at most 1 MiB, mode bits of at most 0777, and no negative UID", i, sec.Name))
		}
		for _, name := range sec.Containers {
			if !seen[name] {
				errs = append(errs, invalid("Secrets[%d] (%s): Containers: the task has no container %q", i, sec.Name, name))
			}
		}
	}
	return errors.Join(errs...)
}

func (n *Network) isZero() bool {
	return n.Mode == 0 && len(n.DNS) == 0 && len(n.Hosts) == 0 && n.Hostname == ""
}

func (c *Container) validate() error {
	var errs []error
	if c.Image == "" || strings.ContainsFunc(c.Image, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		errs = append(errs, invalid("Image %q: must be an image reference", c.Image))
	}
	if c.Pull > PullNever {
		errs = append(errs, invalid("Pull: unknown policy %d", c.Pull))
	}
	for _, arg := range slices.Concat(c.Entrypoint, c.Args) {
		if strings.ContainsRune(arg, 0) || !utf8.ValidString(arg) {
			errs = append(errs, invalid("Args: an argument holds a NUL byte or is not UTF-8, which no runtime could pass on"))
		}
	}
	for k, v := range c.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) || !utf8.ValidString(k+v) {
			errs = append(errs, invalid("Env %q: a name must not be empty or hold '=', and nothing may hold NUL or bytes that are not UTF-8", k))
		}
	}
	if c.Dir != "" && !absolute(c.Dir) {
		errs = append(errs, invalid("Dir %q: must be absolute", c.Dir))
	}
	r := c.Resources
	if min(r.CPU, r.Memory, r.PIDs, r.CPURequest, r.MemoryRequest) < 0 {
		errs = append(errs, invalid("Resources: must not be negative"))
	}
	return errors.Join(append(errs, validMounts(c.Mounts))...)
}

func validMounts(mounts []Mount) error {
	var errs []error
	seen := map[string]bool{}
	for i, m := range mounts {
		if m.Volume == "" {
			errs = append(errs, invalid("Mounts[%d].Volume: is empty", i))
		}
		if !absolute(m.Path) || path.Clean(m.Path) != m.Path || m.Path == "/" || seen[m.Path] {
			errs = append(errs, invalid("Mounts[%d].Path %q: must be absolute, clean, not \"/\", and used once", i, m.Path))
		}
		seen[m.Path] = true
		if m.SubPath != "" && (path.IsAbs(m.SubPath) || path.Clean("/"+m.SubPath) != "/"+m.SubPath) {
			errs = append(errs, invalid("Mounts[%d].SubPath %q: must be relative, clean and without \"..\"", i, m.SubPath))
		}
	}
	return errors.Join(errs...)
}

func absolute(p string) bool { return strings.HasPrefix(p, "/") && !strings.ContainsRune(p, 0) }

// Validate reports what is wrong with the spec, as InvalidArgument, or nil.
func (s *VolumeSpec) Validate() error {
	var size error
	if s.Size < 0 {
		size = invalid("Size: must not be negative")
	}
	return errors.Join(ValidName(s.Name), ValidLabels(s.Labels), size)
}

// Validate reports what is wrong with the place, as InvalidArgument, or nil.
func (p Place) Validate(dir string) error {
	if (p.Task == "") == (p.Volume == "") {
		return invalid("exactly one of Task and Volume must be set")
	}
	if !absolute(dir) {
		return invalid("path %q: must be absolute", dir)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return WithClass(errdefs.ErrInvalidArgument, format, args...)
}
