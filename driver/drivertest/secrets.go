package drivertest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// secretPresent reads a secret in each kind of container, as the user that it belongs to.
func secretPresent(e *Env) {
	const value = "for all\n"
	args := []string{"cat", "/run/secrets/all"}
	spec := e.spec(append(args, ";", "print", "ready", ";", "await", "/go")...)
	spec.Secrets = []driver.Secret{{Name: "all", Path: "/run/secrets/all", Value: []byte(value), UID: 1000}}
	if !e.caps.Secrets {
		e.refused("Secrets", spec)
		return
	}
	spec.Container.User = "1000"
	if e.caps.Init && e.caps.Services {
		spec.Init = []driver.Container{e.named("before", args...)}
		spec.Services = []driver.Service{e.service("beside", driver.Ready{}, append(args, ";", "trap-term", "0")...)}
	}
	id, _ := e.ready(spec)
	if spec.Services != nil {
		e.awaitLine(id, "beside", fmt.Sprintf("%q", value))
	}
	e.signal(id, "/go")
	e.wantExit(e.wait(id), 0)
	out := e.output(id)
	for _, name := range []string{driver.MainContainer, "before", "beside"} {
		if name != driver.MainContainer && spec.Init == nil {
			continue
		}
		if lines := out.of(name, driver.Stdout); !slices.Contains(lines, fmt.Sprintf("%q", value)) {
			e.Errorf("container %q reads %q; want the secret", name, lines)
		}
	}
}

// secretDirectories puts secrets into directories that are there, among them one that everybody may write to, and into new ones.
func secretDirectories(e *Env) {
	if !e.caps.Secrets {
		return // secret-present shows that they are refused
	}
	places := []string{"/tmp/here", "/tmp/new/er/one", "/tmp/new/two", "/three"}
	spec := e.spec(slices.Concat([]string{"stat", "/tmp", "/tmp/new", "/tmp/new/er", ";", "cat"}, places)...)
	c := &spec.Container
	c.Image, c.Entrypoint, c.User = e.suite.usersImage, []string{"/testprog"}, "1000"
	for _, place := range places {
		spec.Secrets = append(spec.Secrets, driver.Secret{Name: place, Path: place, Value: []byte(place), UID: 1000})
	}
	lines := e.succeed(spec).stdout()
	want := []string{`"/tmp" dir 1777 0:0 `, `"/tmp/new" dir 0755 0:0 `, `"/tmp/new/er" dir 0755 0:0 `}
	for _, place := range places {
		want = append(want, fmt.Sprintf("%q", place))
	}
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		e.Errorf("the task sees %q; want lines that begin with %q", lines, want)
	}
}

// secretOfOne gives an init container and the main one a secret each, at the same path.
func secretOfOne(e *Env) {
	const place = "/run/secrets/own"
	spec := e.spec("cat", place, ";", "stat", "/run/secrets/first")
	spec.Init = []driver.Container{e.named("before", "cat", place, "/run/secrets/first")}
	spec.Secrets = []driver.Secret{
		{Name: "of main", Path: place, Value: []byte("main"), Containers: []string{driver.MainContainer}},
		{Name: "of before", Path: place, Value: []byte("before"), Containers: []string{"before"}},
		{Name: "first", Path: "/run/secrets/first", Value: []byte("first"), Containers: []string{"before"}},
	}
	if !e.caps.Secrets {
		e.refused("Secrets", spec)
		return
	}
	if !e.withInit(spec) {
		return
	}
	res, out := e.run(spec)
	if res.Outcome != driver.Exited || res.Code == 0 {
		e.Errorf("the main container, which looks for a secret of the init container alone, %s; want a failure", res)
	}
	for name, want := range map[string][]string{"before": {`"before"`, `"first"`}, driver.MainContainer: {`"main"`}} {
		if lines := out.of(name, driver.Stdout); !slices.Equal(lines, want) {
			e.Errorf("container %q reads %q; want %q", name, lines, want)
		}
	}
	spec = e.spec("exit", "0")
	spec.Secrets = []driver.Secret{{Name: "nobody's", Path: place, Containers: []string{"nobody"}}}
	id, err := e.d.Create(e.ctx, spec)
	if err == nil {
		e.removeLater(id)
	}
	e.wantError("Create with a secret of a container that is not there", err, errdefs.ErrInvalidArgument)
}

// awaitLine wants the first line of a container to be this.
func (e *Env) awaitLine(id driver.TaskID, name, text string) {
	r := e.logs(e.d, id, driver.LogOptions{Follow: true, Containers: []string{name}})
	if entry, err := r.Next(); err != nil || string(entry.Line) != text {
		e.Fatalf("the first line of container %q: %q, %v; want %q", name, entry.Line, err, text)
	}
}

// forms are the ways in which a secret may show.
func forms(value string) []string {
	return []string{value, base64.StdEncoding.EncodeToString([]byte(value))[:len(value)], hex.EncodeToString([]byte(value))}
}

func secretHidden(e *Env) {
	value := "secret-value-of-" + e.name()
	hidden := func(where, text string) {
		for _, form := range forms(value) {
			if strings.Contains(text, form) {
				e.Errorf("the secret shows in %s", where)
			}
		}
	}
	spec := e.spec("stat", "/run/secrets/token", ";", "print", "ready", ";", "await", "/go", ";", "exit", "3")
	spec.Labels = map[string]string{"some": "label"}
	spec.Secrets = []driver.Secret{{Name: "token", Path: "/run/secrets/token", Value: []byte(value)}}
	if !e.caps.Secrets {
		e.refused("Secrets", spec)
		return
	}
	id, _ := e.ready(spec)
	hidden("List", fmt.Sprintf("%+v", e.find(id)))
	hidden("the handle", string(id))
	if e.caps.Events {
		hidden("Events", e.firstEvent(id))
	}
	if show := e.suite.h.Shown; show != nil {
		text, err := show(e.ctx, id)
		e.must("Harness.Shown", err)
		hidden("what the runtime shows of the task", text)
	}
	_, err := e.d.Create(e.ctx, spec)
	hidden("the error of a name in use", fmt.Sprintf("%+v", err))
	e.signal(id, "/go")
	res := e.wait(id)
	e.wantExit(res, 3)
	hidden("the result", fmt.Sprintf("%+v", res))
	hidden("the log", e.output(id).String())
	for _, path := range []string{"relative", "/testprog/below-a-file"} {
		bad := e.spec("exit", "0")
		bad.Secrets = []driver.Secret{{Name: "token", Path: path, Value: []byte(value)}}
		id, err := e.d.Create(e.ctx, bad)
		if err == nil {
			e.removeLater(id)
			e.Errorf("Create accepts a secret at %q", path)
		}
		hidden("the error of a bad path", fmt.Sprintf("%+v", err))
	}
}

// firstEvent returns what Events tells first of a task.
func (e *Env) firstEvent(id driver.TaskID) string {
	var text string
	enough := errors.New("seen enough")
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	err := driver.Events(ctx, e.d, driver.ListOptions{}, func(ev driver.Event) error {
		if ev.Task != id {
			return nil
		}
		text = fmt.Sprintf("%+v", ev)
		return enough
	})
	if !errors.Is(err, enough) {
		e.Errorf("Events: %v", err)
	}
	return text
}
