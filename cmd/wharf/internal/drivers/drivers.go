// Package drivers maps names and URLs to drivers. It is the one place that knows which runtimes there are, and the only
// one that imports them.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// Auto is the name that stands for the first runtime that answers.
const Auto = "auto"

// machineParameter, of the URL of containerd, is where the machine's /proc is mounted in a container that this process is in.
const machineParameter = "machine"

// noDriver is what keeps a runtime from being used, whatever its state is.
const noDriver = "wharf has a driver for it on Linux only"

// patience is how long a runtime may take to say what it is.
const patience = 10 * time.Second

// kind is a runtime that wharf knows of.
type kind struct {
	name string
	// form is that of its URL, for a person; local says that the path of one is that of a socket.
	form  string
	local bool
	// parameters are what its URL may carry behind the question mark.
	parameters []string
	// open makes the driver, without a connection; nil if there is no driver for it on this system.
	open func(u *url.URL) (driver.Driver, error)
	// harness lets the conformance suite reach it, beside the driver; nil where only the tests of the driver can.
	harness func(u *url.URL) (drivertest.Harness, error)
	// nodeHarness is the same where a node has to be reached too, by the socket of its containerd.
	nodeHarness func(ctx context.Context, u *url.URL, node string) (*Tested, error)
	// find looks at what of it is on this machine.
	find func(machine) finding
}

// kinds are all of them, in the order in which Auto tries them.
var kinds = []kind{
	{name: "docker", form: "docker:///path/to.sock or docker://host:port", local: true, parameters: []string{"owner"}, open: openDocker, harness: dockerHarness, find: findDocker},
	{name: "podman", form: "podman:///path/to.sock or podman://host:port", local: true, parameters: []string{"owner"}, open: openPodman, harness: podmanHarness, find: findPodman},
	{name: "containerd", form: "containerd:///path/to.sock", local: true, parameters: []string{"owner", "namespace", "root", "state", "cgroup", machineParameter},
		open: openContainerd, harness: containerdHarness, find: findContainerd},
	{name: "kubernetes", form: "kubernetes://context/namespace", parameters: kubernetesParameters, open: openKubernetes,
		nodeHarness: kubernetesHarness, find: findKubernetes},
}

// Names returns the names that Open takes.
func Names() []string {
	names := []string{Auto}
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// Opened is a driver whose runtime has answered.
type Opened struct {
	Driver driver.Driver
	// URL says which one it is, in the form that Open takes.
	URL          string
	Capabilities driver.Capabilities
	// Chosen says that Auto found it.
	Chosen bool
}

// UsageError is an error in the name or URL of a driver, rather than with a runtime.
type UsageError struct{ msg string }

func (e *UsageError) Error() string { return e.msg }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Open returns the driver for a name or URL once its runtime has answered. The empty name is Auto. A name or URL
// that says nothing is a [UsageError]; a runtime that does not answer is named with what might mend it. The caller closes the driver.
func Open(ctx context.Context, name string) (*Opened, error) {
	if name == "" || name == Auto {
		return auto(ctx, thisMachine())
	}
	k, u, err := parse(name)
	if err != nil {
		return nil, err
	}
	if k.open == nil {
		return nil, usage("driver %q: %s; use one of: %s", name, noDriver, strings.Join(built(), ", "))
	}
	o, err := k.connect(ctx, u)
	var wrong *UsageError
	if errors.As(err, &wrong) {
		return nil, usage("driver %q: %v", name, wrong)
	}
	if err != nil && ctx.Err() == nil {
		f := k.explain(thisMachine(), u, err)
		return nil, fmt.Errorf("%s does not answer (--driver %s): %w%s", k.name, written(u), err, mended(f.Mend))
	}
	return o, err
}

// built returns the names of the drivers that are there.
func built() (names []string) {
	for _, k := range kinds {
		if k.open != nil {
			names = append(names, k.name)
		}
	}
	return names
}

// parse reads the name or URL of a driver.
func parse(name string) (kind, *url.URL, error) {
	text := name
	if !strings.Contains(text, ":") {
		text += ":"
	}
	u, err := url.Parse(text)
	if err != nil {
		return kind{}, nil, usage("driver %q: is neither a name nor a URL", name)
	}
	scheme := u.Scheme
	if scheme == "unix" || scheme == "tcp" { // as in DOCKER_HOST
		scheme = "docker"
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == scheme })
	if i < 0 {
		return kind{}, nil, usage("driver %q: there is no such driver%s; there are: %s", name, similar(scheme), strings.Join(Names(), ", "))
	}
	k := kinds[i]
	if _, secret := u.User.Password(); secret || u.User != nil && k.local {
		return k, nil, usage("driver %q: a URL must not hold a user or password", u.Redacted())
	}
	if u.Fragment != "" || u.Opaque != "" {
		return k, nil, usage("driver %q: must be like %s, %s", name, k.name, k.form)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return k, nil, usage("driver %q: %v", name, err)
	}
	for p, values := range query {
		if !slices.Contains(k.parameters, p) {
			return k, nil, usage("driver %q: unknown parameter %q; %s", name, p, known(k.parameters))
		}
		if len(values) > 1 {
			return k, nil, usage("driver %q: the parameter %q stands there twice", name, p)
		}
	}
	return k, u, nil
}

func known(parameters []string) string {
	if len(parameters) == 0 {
		return "there are none"
	}
	return "there is: " + strings.Join(parameters, ", ")
}

func similar(name string) string {
	for _, known := range Names() {
		if levenshtein.Distance(name, known, nil) <= 2 {
			return fmt.Sprintf(", did you mean %q?", known)
		}
	}
	return ""
}

// connect makes the driver and asks the runtime what it is. An error from before it was asked is a [UsageError].
func (k kind) connect(ctx context.Context, u *url.URL) (*Opened, error) {
	d, err := k.open(u)
	if err != nil {
		return nil, usage("%v", cause(err))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	caps, err := d.Capabilities(ctx)
	if err != nil {
		return nil, errors.Join(cause(err), d.Close())
	}
	return &Opened{Driver: d, URL: written(u), Capabilities: caps}, nil
}

// cause takes away the name of the operation, which says nothing to a person who only named a driver.
func cause(err error) error {
	if e, ok := err.(*driver.Error); ok {
		return e.Err
	}
	return err
}

// written is a driver's URL as a person would write it.
func written(u *url.URL) string {
	if u.Host != "" || u.Path != "" {
		return u.String()
	}
	if u.RawQuery == "" {
		return u.Scheme
	}
	return u.Scheme + "://?" + u.RawQuery
}

// auto takes the first runtime that is there and answers.
func auto(ctx context.Context, m machine) (*Opened, error) {
	var why strings.Builder
	for _, k := range kinds {
		if k.open == nil {
			fmt.Fprintf(&why, "\n  %-11s %s", k.name+":", noDriver)
			continue
		}
		f := k.find(m)
		if f.State == Works {
			u := &url.URL{Scheme: k.name}
			o, err := k.connect(ctx, u)
			if err == nil {
				o.Chosen = true
				return o, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			f = k.explain(m, u, err)
		}
		fmt.Fprintf(&why, "\n  %-11s %s%s", k.name+":", f.Problem, mended(f.Mend))
	}
	return nil, fmt.Errorf("no container runtime can be used:%s", why.String())
}

func mended(command string) string {
	if command == "" {
		return ""
	}
	return "\n  try:        " + command
}
