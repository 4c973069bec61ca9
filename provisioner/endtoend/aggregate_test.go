package endtoend

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/provisioner"
)

// report waits until a build at wharf-api is as it should be.
func (s *system) report(api *wharfapitest.Server, build int, what string, is func(*wharfapitest.Build) bool) wharfapitest.Build {
	s.t.Helper()
	giveUp := make(chan struct{})
	t := time.AfterFunc(patience, func() { close(giveUp) })
	defer t.Stop()
	b, ok := api.Until(uint64(build), giveUp, is)
	if !ok {
		s.t.Fatalf("build %d is not %s: it is %s, after %v, with %d lines", build, what, b.Status, b.History, b.Count)
	}
	return b
}

// finished waits until a build has ended at wharf-api.
func (s *system) finished(api *wharfapitest.Server, build int) wharfapitest.Build {
	s.t.Helper()
	return s.report(api, build, "ended", func(b *wharfapitest.Build) bool { return b.Status == "Completed" || b.Status == "Failed" })
}

// printed is a definition whose only step prints numbered lines, and what it prints.
func printed(build, lines int) (definition string, want []string) {
	for i := range lines {
		want = append(want, fmt.Sprintf("build %d line %d", build, i+1))
	}
	return fmt.Sprintf(`
print:
  lines:
    container:
      image: %s
      cmds:
        - i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "build ${BUILD_REF} line $i"; done
        - echo content > left.txt
      artifacts: [left.txt]
`, stepImage, lines), want
}

// messages are the lines that are stored of a build.
func messages(b wharfapitest.Build) []string {
	var all []string
	for _, l := range b.Lines {
		all = append(all, l.Message)
	}
	return all
}

// TestAggregate has builds relayed to their ends.
func TestAggregate(t *testing.T) {
	p := begin(t)
	api := wharfAPI(t, wharfapitest.Options{})
	p.aggregator("one", p.url, api)
	definition, _ := printed(0, 500)
	p.repository("print", "main", definition)
	p.repository("wrong", "main", "print:\n  lines:\n    container: {image: "+stepImage+", cmds: [exit 3]}\n")
	for build := 1; build <= 2; build++ {
		api.Add(uint64(build))
		p.trigger(build, "print", "main")
	}
	api.Add(3)
	p.trigger(3, "wrong", "main")
	for build := 1; build <= 2; build++ {
		b := p.finished(api, build)
		_, want := printed(build, 500)
		if got := messages(b); !slices.Equal(got, want) {
			t.Errorf("build %d: %d lines are stored, %d were printed: %q …", build, len(got), len(want), got[:min(10, len(got))])
		}
		if want := []string{"Scheduling", "Running", "Completed"}; !slices.Equal(b.History, want) {
			t.Errorf("build %d went through %v", build, b.History)
		}
		if len(b.Files) != 1 || b.Files[0].Name != "left.txt" || string(b.Files[0].Content) != "content\n" {
			t.Errorf("build %d has left %+v", build, b.Files)
		}
	}
	b := p.finished(api, 3)
	if b.Status != "Failed" || len(b.Lines) != 1 {
		t.Errorf("the build that fails is %s, and says %q", b.Status, messages(b))
	}
	t.Logf("it says %q", messages(b))
	p.gone()
}

// gone waits until there is no worker any more, or none of these, and reports whether that is so. What a provisioner has half removed that was killed, another takes for half made until it is some minutes old.
func (p *process) gone(ids ...string) bool {
	p.t.Helper()
	for begin := time.Now(); ; {
		list, err := p.client.Workers(p.t.Context())
		if len(ids) > 0 {
			list = slices.DeleteFunc(list, func(w provisioner.Worker) bool { return !slices.Contains(ids, w.ID) })
		}
		if err == nil && len(list) == 0 {
			return true
		}
		if time.Since(begin) > 7*time.Minute {
			p.t.Errorf("there are still workers: %+v, %v", list, err)
			return false
		}
		ctx, cancel := context.WithTimeout(p.t.Context(), time.Second) // that one was removed may have been told before this listens
		for w, err := range p.client.Watch(ctx) {
			if err != nil || w.State == provisioner.Removed {
				break
			}
		}
		cancel()
	}
}
