package worker

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
)

// scriptVar holds the script on its way, if the script itself holds a secret. It is not exported.
const scriptVar = "wharf_script"

// The first process of a container is deaf to signals that it has no handler for: a script that runs as such would outlive TERM, and be
// green after a kill of its own. So a shell runs the script as its child. Its $0 and $@ are the step's shell and that one's arguments;
// "exit" keeps it from giving way to the child.
const (
	launchPlain = `"$0" "$@"; exit $?`
	// With secrets it is /bin/sh, which first reads what is to be exported, so that any program may be the step's shell.
	launchEnv    = `. ` + envPath + ` && "$0" "$@"; exit $?`
	launchScript = `. ` + envPath + ` && "$0" "$1" "$` + scriptVar + `"; exit $?`
)

// launchService runs the commands of a service, whose container gets TERM when the step has ended: so that a server which is deaf to it
// as the first process does not hold up the step's end.
const launchService = `trap 'trap "" TERM; ` + passTerm + `' TERM; "$0" "$@" & wait $!; code=$?; wait; exit $code`

// passTerm is what a runtime does not do: it tells every process but the first that the task is to end, as a terminal does
// with those in its foreground.
const passTerm = "kill -TERM -1"

// posix reports whether a program is a shell that understands the above.
func posix(shell string) bool {
	switch path.Base(shell) {
	case "sh", "ash", "bash", "dash", "ksh", "mksh", "zsh":
		return true
	}
	return false
}

// command fills in what the container runs, its environment, and the file with what must not be seen.
func (b *Build) command(s *pipeline.Step, spec *driver.TaskSpec) {
	c, argv := s.Container, s.Container.Args()
	spec.Container.Env = map[string]string{}
	file := b.envFile(s)
	if file == nil {
		if posix(c.Shell) {
			argv = append([]string{c.Shell, "-c", launchPlain}, argv...)
		}
		spec.Container.Entrypoint, spec.Container.Args = argv[:1], argv[1:]
		maps.Copy(spec.Container.Env, c.Env)
		return
	}
	for name, value := range c.Env {
		if !b.holdsSecret(value) {
			spec.Container.Env[name] = value
		}
	}
	launch := launchEnv
	if b.holdsSecret(c.Script) {
		launch, argv = launchScript, argv[:2]
	}
	spec.Container.Entrypoint = []string{"/bin/sh"}
	spec.Container.Args = append([]string{"-c", launch}, argv...)
	secret := driver.Secret{Name: "environment of " + s.ID, Path: envPath, Value: file, Mode: 0o444}
	if uid, _, ok := numericUser(c.User); ok {
		secret.UID, secret.Mode = uid, 0o400
	}
	spec.Secrets = []driver.Secret{secret}
}

// shellMissing says what mends a start that failed for want of the step's shell, or nothing if it failed otherwise.
func shellMissing(s *pipeline.Step, r driver.Result) string {
	shell := s.Container.Shell
	absent := strings.Contains(r.Reason, "no such file") || strings.Contains(r.Reason, "not found")
	if r.Outcome != driver.StartFailed || !absent || !strings.Contains(r.Reason, shell) {
		return ""
	}
	if shell == "/bin/sh" {
		return `: the image has no shell /bin/sh; set "shell" to one that it has, or use an image with a shell`
	}
	return fmt.Sprintf(`: the image has no shell %s; set "shell" to one that it has, such as /bin/sh`, shell)
}

// terminate tells the processes of a step's container to end, as far as the runtime and the image allow. What does not hear
// of it is killed after the grace time.
func (e *engine) terminate(ctx context.Context, p *prep) {
	shell := p.step.Container.Shell
	if !e.caps.Exec || !posix(shell) {
		return
	}
	_ = bounded(ctx, func() error {
		_, err := driver.Exec(ctx, e.d, p.task, driver.ExecSpec{Args: []string{shell, "-c", passTerm}})
		return err
	})
}
