package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
)

// lanes are the build's network sandboxes.
//
// Setting up a network is most of what a container's start costs on some runtimes. A sandbox costs that once, and each step
// that runs in it saves it. So sandboxes are made in the background while the first steps run, and later steps take them:
//
//   - No step waits for a sandbox. One that finds none ready brings its own network, as any container does.
//   - A sandbox never has two tasks that run at once. A task is tied to its sandbox when it is created, so a sandbox is
//     taken from then until the task has ended. Stages run one after another: a sandbox whose task runs in this stage may be
//     taken, at the same time, by a task that is made ahead for the next one.
//   - A sandbox costs about two starts' worth of network. It is made only if at least [usesPerLane] of the steps that do
//     not run in the first wave can use it; so a build of one step makes none.
//   - A step with services has a network of its own, because its hosts file names them.
type lanes struct {
	e      *engine
	mu     sync.Mutex
	all    []*sandbox
	making sync.WaitGroup
}

// sandbox is one of them, and the stages that have a task in it.
type sandbox struct {
	id    driver.SandboxID
	taken map[int]bool
}

// lane is a sandbox in the hands of one task. It is given back once, however often it is released: by then another task may
// have it.
type lane struct {
	*sandbox
	given bool // back; guarded by lanes.mu
}

// sandboxName stands in a sandbox's name between the build's ID and a number.
const sandboxName = "-net-"

// usesPerLane is how many steps must be able to use a sandbox for it to be worth its making.
const usesPerLane = 3

// newLanes begins to make the sandboxes that the plan is worth.
func newLanes(e *engine) *lanes {
	l := &lanes{e: e}
	if !e.caps.Sandboxes {
		return l
	}
	n := worth(e.cfg.Plan, e.cfg.Parallel)
	l.making.Go(func() {
		first, err := e.unusedSandbox()
		for i := first; i < first+n; i++ {
			if err == nil {
				err = l.add(i)
			}
			if err != nil {
				e.doubt.Store(true)
				if e.stopped() == nil {
					e.warn("", "no network could be made ahead; steps bring their own: %v", err)
				}
				return
			}
		}
	})
	return l
}

// worth returns how many sandboxes to make for a plan: as many as may be taken at once, if each has enough to do.
func worth(plan *pipeline.Plan, parallel int) int {
	first, rest, width := 0, 0, 0
	for _, stage := range plan.Stages {
		if stage.Skip != "" || stage.RunIf == pipeline.RunIfFail {
			continue
		}
		steps := 0
		for _, s := range stage.Steps {
			if len(s.Services) == 0 {
				steps++
			}
		}
		rest += steps
		if first == 0 {
			first = min(steps, parallel)
		}
		width = max(width, min(steps, 2*parallel))
	}
	return min(width, (rest-first)/usesPerLane)
}

func (l *lanes) add(n int) error {
	id, err := driver.CreateSandbox(l.e.stop, l.e.d, driver.SandboxSpec{
		Name:   fmt.Sprint(l.e.cfg.ID, sandboxName, n+1),
		Labels: l.e.labels,
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &sandbox{id: id, taken: map[int]bool{}})
	return nil
}

// take returns a sandbox that no other task of the stage has, or nil if none is ready.
func (l *lanes) take(stage int) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		if !one.taken[stage] {
			one.taken[stage] = true
			return &lane{sandbox: one}
		}
	}
	return nil
}

// release gives back what take returned. A second call does nothing.
func (l *lanes) release(one *lane, stage int) {
	if one == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !one.given {
		one.given = true
		delete(one.taken, stage)
	}
}

// count returns how many sandboxes there are.
func (l *lanes) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// remove takes the sandboxes away. It may be called again after an error.
func (l *lanes) remove(ctx context.Context) error {
	l.making.Wait()
	l.mu.Lock()
	all := l.all
	l.mu.Unlock()
	return each(all, func(one *sandbox) error { return driver.RemoveSandbox(ctx, l.e.d, one.id) })
}
