package drivertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
)

func fidelity() []Case {
	const (
		env   = "Env is added to the image's environment, and overrides it. Values are anything but NUL."
		args  = "Entrypoint and Args make up the argument vector, exactly as given: nothing is expanded."
		image = "Args replaces the image's command if it is not nil. Entrypoint replaces the image's entrypoint if it is not nil, and then the image's command is not used either."
		user  = "User is \"name\", \"uid\", \"name:group\" or \"uid:gid\"; empty is the image's. An unknown name ends the task as StartFailed."
		dir   = "Dir is the working directory; empty is the image's. A directory that does not exist is made, as far as the file system lets, or the task ends as StartFailed."
	)
	return group("fidelity",
		Case{ID: "env", Contract: env, Run: envVerbatim},
		Case{ID: "env-large", Contract: env, Run: envLarge},
		Case{ID: "env-image", Contract: env, Run: envImage},
		Case{ID: "locale", Contract: "The environment is the image's and the spec's: nothing sets a locale or a time zone.", Run: locale},
		Case{ID: "args", Contract: args, Run: argsVerbatim},
		Case{ID: "args-large", Contract: args, Run: argsLarge},
		Case{ID: "image-command", Contract: image, Run: imageCommand},
		Case{ID: "args-override", Contract: image, Run: argsOverride},
		Case{ID: "args-empty", Contract: image, Run: argsEmpty},
		Case{ID: "entrypoint-override", Contract: image, Run: entrypointOverride},
		Case{ID: "entrypoint-empty", Contract: image, Run: entrypointEmpty},
		Case{ID: "bare-image", Contract: "An image needs neither shell nor tar, nor anything else but its program.", Run: bareImage},
		Case{ID: "user-image", Contract: user, Run: func(e *Env) { wantUser(e, "", "1000:1000") }},
		Case{ID: "user-name", Contract: user, Run: func(e *Env) { wantUser(e, "guest", "2000:3000") }},
		Case{ID: "user-number", Contract: user, Run: func(e *Env) { wantUser(e, "1234", "1234:0") }},
		Case{ID: "user-number-known", Contract: user, Run: func(e *Env) { wantUser(e, "2000", "2000:3000") }},
		Case{ID: "user-group", Contract: user, Run: func(e *Env) { wantUser(e, "builder:staff", "1000:3000") }},
		Case{ID: "user-numbers", Contract: user, Run: func(e *Env) { wantUser(e, "1234:5678", "1234:5678") }},
		Case{ID: "user-unknown", Contract: user, Run: userUnknown},
		Case{ID: "dir-image", Contract: dir, Run: func(e *Env) { wantDir(e, e.suite.usersImage, "", "/home/builder") }},
		Case{ID: "dir-default", Contract: dir, Run: func(e *Env) { wantDir(e, e.suite.image, "", "/") }},
		Case{ID: "dir-set", Contract: dir, Run: func(e *Env) { wantDir(e, e.suite.usersImage, "/tmp", "/tmp") }},
		Case{ID: "dir-made", Contract: dir, Run: func(e *Env) { wantDir(e, e.suite.image, "/made/by/runtime", "/made/by/runtime") }},
		Case{ID: "dir-impossible", Contract: dir, Run: dirImpossible},
		Case{ID: "hostname", Contract: "Hostname is the containers' host name; empty is the runtime's choice.", Run: hostname},
		Case{ID: "clock", Contract: "The clock of a task is the runtime's.", Run: clock},
	)
}

// quoted reads lines of quoted strings, as the verbs "env" and "args" print them.
func (e *Env) quoted(lines []string) []string {
	var values []string
	for _, l := range lines {
		v, err := strconv.Unquote(l)
		e.must("read a line of the test program", err)
		values = append(values, v)
	}
	return values
}

// environ runs the container with the verb "env" and returns the environment that it sees.
func (e *Env) environ(image string, env map[string]string) map[string]string {
	spec := e.spec("env")
	spec.Container.Image, spec.Container.Env = image, env
	spec.Container.Entrypoint = []string{"/testprog"}
	got := map[string]string{}
	for _, v := range e.quoted(e.succeed(spec).stdout()) {
		name, value, _ := strings.Cut(v, "=")
		if old, twice := got[name]; twice {
			e.Errorf("the variable %s is there twice, as %.100q and %.100q", name, old, value)
		}
		got[name] = value
	}
	return got
}

func (e *Env) wantEnv(got, want map[string]string) {
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			e.Errorf("the variable %q is %.200q (set: %t); want %.200q", name, v, ok, value)
		}
	}
}

func envVerbatim(e *Env) {
	want := map[string]string{
		"EMPTY": "", "NEWLINES": "a\nb\n\nc\n", "QUOTES": `'single' "double" \back\slash`, "EQUALS": "a=b==c", "DOLLAR": "$HOME ${PATH} $(id) `id`",
		"SPACES": "  around  ", "UNICODE": "größe ☃ 日本", "CONTROL": "\x01\x1b[31m\t\r", "lower.dotted-name": "odd", "_": "underscore",
	}
	e.wantEnv(e.environ(e.suite.image, want), want)
}

func envLarge(e *Env) {
	want := map[string]string{}
	for i := range 5 {
		want[fmt.Sprint("LARGE_", i)] = strings.Repeat(fmt.Sprintf("%07d ", i), 5<<10) // 40 KiB
	}
	e.wantEnv(e.environ(e.suite.image, want), want)
}

func envImage(e *Env) {
	e.wantEnv(e.environ(e.suite.usersImage, map[string]string{"BOTH": "spec", "MORE": "1"}),
		map[string]string{"FROM_IMAGE": "image value", "BOTH": "spec", "MORE": "1", "PATH": "/bin:/usr/bin"})
}

func locale(e *Env) {
	for name, value := range e.environ(e.suite.image, nil) {
		if name == "TZ" || name == "LANG" || name == "LANGUAGE" || strings.HasPrefix(name, "LC_") {
			e.Errorf("the environment has %s=%q, which neither image nor spec sets", name, value)
		}
	}
}

// wantArgs runs the container and wants it to see this argument vector.
func (e *Env) wantArgs(c driver.Container, want ...string) {
	spec := driver.TaskSpec{Name: e.name(), Container: c}
	spec.Container.Pull = driver.PullNever
	got := e.quoted(e.succeed(spec).stdout())
	if diff := cmp.Diff(want, got); diff != "" {
		e.Errorf("the argument vector (-want +got):\n%s", diff)
	}
}

func argsVerbatim(e *Env) {
	odd := []string{
		"", "a b", `"double"`, "'single'", "$HOME", "${PATH}", "$$", "$(HOME)", "*", "~", "new\nline", "tab\t", "größe ☃", "-flag", "--", `\`, `\n`, "; exit 1", "| cat", "{{.X}}", "",
	}
	e.wantArgs(driver.Container{Image: e.suite.image, Args: append([]string{"args"}, odd...)}, append([]string{"/testprog", "args"}, odd...)...)
}

func argsLarge(e *Env) {
	large := []string{"args", strings.Repeat("x", 40<<10)}
	for i := range 500 {
		large = append(large, fmt.Sprint("argument ", i))
	}
	e.wantArgs(driver.Container{Image: e.suite.image, Args: large}, append([]string{"/testprog"}, large...)...)
}

func imageCommand(e *Env) {
	e.wantArgs(driver.Container{Image: e.suite.usersImage}, "/testprog", "args", "from entrypoint", "from", "command")
}

func argsOverride(e *Env) {
	e.wantArgs(driver.Container{Image: e.suite.usersImage, Args: []string{"mine"}}, "/testprog", "args", "from entrypoint", "mine")
}

func argsEmpty(e *Env) {
	e.wantArgs(driver.Container{Image: e.suite.usersImage, Args: []string{}}, "/testprog", "args", "from entrypoint")
}

func entrypointOverride(e *Env) {
	e.wantArgs(driver.Container{Image: e.suite.usersImage, Entrypoint: []string{"/testprog", "args"}}, "/testprog", "args")
	e.wantArgs(driver.Container{Image: e.suite.usersImage, Entrypoint: []string{"/testprog", "args"}, Args: []string{"mine"}}, "/testprog", "args", "mine")
}

func entrypointEmpty(e *Env) {
	e.wantArgs(driver.Container{Image: e.suite.usersImage, Entrypoint: []string{}, Args: []string{"/testprog", "args", "mine"}}, "/testprog", "args", "mine")
}

func bareImage(e *Env) {
	e.wantOutput(e.spec("cwd", ";", "id", ";", "refused", "stat", "/bin/sh", ";", "print", "done"), "/", "0:0",
		"refused: lstat /bin/sh: no such file or directory", "done")
}

func wantUser(e *Env, user, want string) {
	spec := e.spec("id")
	spec.Container.Image, spec.Container.User = e.suite.usersImage, user
	spec.Container.Entrypoint = []string{"/testprog"}
	e.wantOutput(spec, want)
}

func userUnknown(e *Env) {
	spec := e.spec("id")
	spec.Container.Image, spec.Container.User = e.suite.usersImage, "no-such-user"
	e.startFails(spec, "no-such-user")
}

func wantDir(e *Env, image, dir, want string) {
	spec := e.spec("cwd")
	spec.Container.Image, spec.Container.Dir = image, dir
	spec.Container.Entrypoint = []string{"/testprog"}
	e.wantOutput(spec, want)
}

func dirImpossible(e *Env) {
	spec := e.spec("cwd")
	spec.Container.Dir = "/testprog/below/a/file"
	e.startFails(spec, "/testprog")
}

func hostname(e *Env) {
	spec := e.spec("hostname")
	spec.Network.Hostname = "some-host"
	if !e.caps.Hostname {
		e.refused("Network.Hostname", spec)
	} else {
		e.wantOutput(spec, "some-host")
	}
	if lines := e.succeed(e.spec("hostname")).stdout(); len(lines) != 1 || lines[0] == "" {
		e.Errorf("without a host name in the spec, it is %q", lines)
	}
}

func clock(e *Env) {
	before := time.Now()
	lines := e.succeed(e.spec("clock")).stdout()
	if len(lines) != 1 {
		e.Fatalf("the clock printed %q", lines)
	}
	ns, err := strconv.ParseInt(lines[0], 10, 64)
	e.must("read the clock", err)
	const tolerance = 5 * time.Minute // the runtime may be another machine
	if t := time.Unix(0, ns); t.Before(before.Add(-tolerance)) || t.After(time.Now().Add(tolerance)) {
		e.Errorf("the task's clock says %v; here it is %v", t, before)
	}
	if env := e.environ(e.suite.image, map[string]string{"TZ": "Asia/Tokyo"}); env["TZ"] != "Asia/Tokyo" {
		e.Errorf("TZ is %q; want what the spec sets", env["TZ"])
	}
}
