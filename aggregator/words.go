package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/report"
)

// autopsy is what the runtime and the worker itself tell of a worker that has ended.
type autopsy struct {
	result   driver.Result
	gone     bool // the runtime has nothing of it any more
	released bool // everything was taken from it
	refusal  string
	reported string // what it said itself
	said     []string
	missing  error // why its own words are not known
}

// Bounds of what is quoted.
const (
	mostQuoted = 20
	longest    = 2000
)

// examine asks the runtime how a worker has ended, and reads what it said.
func (a *Aggregator) examine(ctx context.Context, m *member) (*autopsy, error) {
	out := &autopsy{}
	if _, removed, _ := m.now(); removed {
		out.gone = true
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	var err error
	if out.result, err = a.cfg.Driver.Wait(ctx, m.task.ID); errdefs.IsNotFound(err) {
		out.gone = true
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if out.result.Outcome == driver.Stopped {
		if out.refusal, err = provisioner.Refusal(ctx, a.cfg.Driver, m.worker.ID, m.task.ID); err != nil {
			return nil, err
		}
	}
	if out.missing = a.listen(ctx, m, out); errdefs.IsNotFound(out.missing) { // it has been removed since
		out.gone, out.missing = true, nil
	}
	return out, nil
}

// never reports whether the worker itself never ran, so that it has left nothing.
func (o *autopsy) never() bool {
	switch o.result.Outcome {
	case driver.Stopped, driver.StartFailed, driver.InitFailed:
		return true
	}
	return false
}

// listen reads what the worker printed: its reports, and its last words on standard error.
func (a *Aggregator) listen(ctx context.Context, m *member, out *autopsy) error {
	r, err := a.cfg.Driver.Logs(ctx, m.task.ID, driver.LogOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line, ok := report.Parse(e.Line); ok && e.Stream == driver.Stdout {
			switch line.State {
			case report.Released:
				out.released = true
			case report.Failed, report.Errored, report.Cancelled:
				out.reported = line.Reason
			}
			continue
		}
		if e.Stream == driver.Stderr {
			out.quote(e.Container, strings.TrimSpace(string(e.Line)))
		}
	}
}

// quote keeps a line that says why the worker has ended: the last ones of the container that failed, and of a service's log only what is an error.
func (o *autopsy) quote(container, line string) {
	failed := driver.MainContainer
	if o.result.Outcome == driver.InitFailed {
		failed = o.result.Container
	}
	if line == "" || container != failed {
		return
	}
	var entry struct {
		Level   string `json:"@level"`
		Message string `json:"@message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal([]byte(line), &entry) == nil && entry.Level != "" {
		if entry.Level != "error" {
			return
		}
		line = strings.TrimSuffix(entry.Message+": "+entry.Error, ": ")
	}
	if len(o.said) == mostQuoted {
		o.said = o.said[1:]
	}
	o.said = append(o.said, shortened(line))
}

func shortened(text string) string {
	if len(text) > longest {
		return strings.ToValidUTF8(text[:longest], "") + " …"
	}
	return text
}

// advice is what to do about a worker that has ended so.
var advice = map[driver.Outcome]string{
	driver.OutOfMemory: "the worker itself ran out of memory, not a step: give workers more (the provisioner's --worker-memory)",
	driver.Evicted:     "its node took it away: look at the node's resources, and trigger the build again",
	driver.Lost:        "it was removed while it ran, or its node is gone: trigger the build again",
	driver.Signaled:    "somebody or something killed it: trigger the build again, and look at the machine's log if nobody did",
	driver.StartFailed: "the runtime could not start the worker's container: look at the provisioner's --image and at what the runtime says of it",
	driver.InitFailed:  "the repository could not be cloned: look at the URL, the branch and the credential of the project",
}

// words are the lines that say, for a person, why the build has no end of its own. The first begins with verdictWords.
func (o *autopsy) words(m *member) []string {
	why, started := "", !o.result.Started.IsZero()
	switch {
	case o.gone && m.startedAt().IsZero():
		why = "its worker was removed before it was started"
	case o.gone:
		why, started = "its worker was removed before the build had ended, or before all of it was relayed", true
	case o.refusal != "":
		why = "its worker could not be started: " + o.refusal
	case o.result.Outcome == driver.Stopped:
		why = "its worker was stopped before it was started"
	case o.reported != "":
		why = o.reported
	default:
		why = "its worker has ended before it: " + o.result.String()
	}
	var all []string
	for line := range strings.Lines(verdictWords + why) {
		all = append(all, shortened(strings.TrimRight(line, "\n")))
	}
	if hint := advice[o.result.Outcome]; hint != "" && !o.gone {
		all = append(all, hint)
	}
	if o.reported == "" {
		for _, line := range o.said {
			all = append(all, "the worker said: "+line)
		}
	}
	if o.missing != nil {
		all = append(all, shortened(fmt.Sprintf("what the worker itself said is not known: %v", o.missing)))
	}
	if !started || o.gone {
		for _, n := range m.told() {
			all = append(all, shortened(fmt.Sprintf("the runtime said at %s: %s", n.at.UTC().Format(time.TimeOnly), n.reason)))
		}
	}
	return all
}
