package provisioner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner/report"
)

// read follows what a worker prints, until it has ended: its own reports on standard output say how far it is, and its last words on standard error
// say, where there is no report, why it has failed.
func (p *Provisioner) read(m *member) {
	defer p.fleet.freeReader(m)
	wait := backoff{}
	for tries := 1; ; tries++ {
		err := p.readOnce(m, tries >= 3)
		switch {
		case err == nil, p.ctx.Err() != nil:
			return
		case errdefs.IsNotFound(err):
			if err = p.finishRemoval(m, tries >= 3); err == nil {
				return
			}
		}
		p.log.Warn("what a worker says cannot be read; trying again", "worker", m.worker.ID, "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}

// finishRemoval takes away what there is of a worker whose task is gone, or, if its log is not found time and again, whose removal has begun: whoever did that may have died
// over it.
func (p *Provisioner) finishRemoval(m *member, again bool) error {
	task, stays := p.fleet.abandoned(m)
	if !stays {
		return nil
	}
	ctx, cancel := within(p.ctx, removeBound)
	defer cancel()
	tasks, err := p.standing(ctx, m.worker.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks { // of one that is several containers, one may be gone
		if t.ID == task.ID && (t.State != driver.StateEnded || !again) {
			return errdefs.ErrUnavailable.WithMessage("the runtime does not find its log, and lists it as " + t.State.String())
		}
	}
	err = p.remove(ctx, m.worker.ID, task)
	if err == nil {
		p.log.Info("a worker was removed by others", "worker", m.worker.ID)
	}
	return err
}

// standing asks the runtime for the tasks that a worker has now.
func (p *Provisioner) standing(ctx context.Context, id string) ([]driver.Task, error) {
	return p.cfg.Driver.List(ctx, ofWorker(id))
}

// stands asks the runtime whether a worker's task is there.
func (p *Provisioner) stands(ctx context.Context, id string, task driver.TaskID) (bool, error) {
	tasks, err := p.standing(ctx, id)
	return slices.ContainsFunc(tasks, func(t driver.Task) bool { return t.ID == task }), err
}

// readOnce reads to the end. What was there before this provisioner is read first, of a few workers at a time: there may be many. Of a worker that has ended, and
// whose log could not be read for several times, what it said is given up.
func (p *Provisioner) readOnce(m *member, last bool) error {
	if p.fleet.isBehind(m) {
		select {
		case p.reading <- struct{}{}:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		if p.fleet.hasEnded(m) {
			defer func() { <-p.reading }()
		} else {
			_, err := p.follow(m, false)
			<-p.reading
			if err != nil {
				return err
			}
			p.fleet.caughtUp(m)
		}
	}
	said, err := p.follow(m, true)
	if err != nil && !(last && p.fleet.hasEnded(m)) {
		return err
	}
	if err != nil {
		p.log.Warn("what a worker said is lost", "worker", m.worker.ID, "error", err) // how it ended may still be known
	}
	res, err := p.cfg.Driver.Wait(p.ctx, m.task.ID)
	if err != nil {
		return err
	}
	p.conclude(m, res, said)
	return nil
}

// words are what a worker said last on standard error, by container.
type words map[string]string

// follow reads a worker's log to its end, or to what there is now.
func (p *Provisioner) follow(m *member, toEnd bool) (words, error) {
	r, err := p.cfg.Driver.Logs(p.ctx, m.task.ID, driver.LogOptions{Follow: toEnd})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	said := words{}
	broken := map[string]bool{} // a line that came in parts is no report
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return said, nil
		}
		if err != nil {
			return nil, err
		}
		part := broken[e.Container+e.Stream.String()]
		broken[e.Container+e.Stream.String()] = e.Partial
		if part || e.Partial {
			continue
		}
		if e.Stream == driver.Stderr {
			if line := strings.TrimSpace(string(e.Line)); line != "" {
				said[e.Container] = shortened(strings.ToValidUTF8(line, "?"))
			}
			continue
		}
		if line, ok := report.Parse(e.Line); ok {
			p.fleet.said(m, line)
			p.poke()
		}
	}
}

// conclude says how a worker has ended.
func (p *Provisioner) conclude(m *member, res driver.Result, said words) {
	deleted, released := p.fleet.fate(m)
	state, cause, reason := Lost, strings.ReplaceAll(res.Outcome.String(), " ", "_"), res.String()
	switch {
	case res.Outcome == driver.Exited && res.Code == 0:
		state, cause, reason = Succeeded, "", ""
	case res.Outcome == driver.Exited && res.Code == exitCancelled:
		state, cause, reason = Cancelled, "", said[driver.MainContainer]
	case res.Outcome == driver.Exited:
		state, cause, reason = Failed, "worker", fmt.Sprintf("the worker %s: %s", res, said[driver.MainContainer])
	case res.Outcome == driver.InitFailed:
		state, cause, reason = Failed, "clone", fmt.Sprintf("the repository could not be cloned: %s", said[cloner])
	case res.Outcome == driver.StartFailed:
		state, cause = Failed, "start"
	case res.Outcome == driver.Stopped && deleted:
		state, cause, reason = Cancelled, "", "it was deleted"
	case res.Outcome == driver.Stopped:
		state, cause, reason = Cancelled, "", "it was stopped before it began"
		if refused := p.refusal(p.ctx, m); refused != "" {
			state, cause, reason = Failed, "start", refused
		}
	}
	if deleted && state == Lost {
		state, cause, reason = Cancelled, "", "it was deleted"
	}
	p.fleet.ended(m, state, cause, reason, res)
	w, there := p.fleet.worker(m.worker.ID)
	if there {
		p.log.Info("a worker has ended", "worker", w.ID, "state", w.State, "reason", w.Reason)
	}
	p.poke()
	switch {
	case deleted: // whoever does that sweeps
	case released:
		p.spawn(func() { p.dismiss(m.worker.ID, m.task.ID) })
	default:
		p.spawn(func() { p.sweepUntil(m, res.Outcome == driver.Exited) })
	}
}

// sweepUntil removes what a worker has left that was not deleted, and tries until nothing is. It is done then for good if the worker has ended by itself, and not been killed: the runtime may still
// make what that had asked for.
func (p *Provisioner) sweepUntil(m *member, done bool) {
	p.persist(func() error {
		_, err := p.sweep(p.ctx, m.worker.ID, m.task.ID)
		if err == nil && done {
			p.fleet.swept(m)
		}
		return err
	}, "what a worker has left is not removed yet; trying again", "worker", m.worker.ID)
}

// dismiss removes a worker that everything was taken from, and tries until it is gone.
func (p *Provisioner) dismiss(id string, task driver.TaskID) {
	p.log.Info("everything was taken from a worker", "worker", id)
	p.persist(func() error {
		if err := p.delete(p.ctx, id, task); !errors.Is(err, ErrNoWorker) {
			return err
		}
		return nil
	}, "a worker that was released is not removed yet; trying again", "worker", id)
}

// exitCancelled is the exit code of a worker whose build was cancelled.
const exitCancelled = 130

// sweep removes what a worker that has ended has left on the runtime, and returns how much that was. It looks until there is nothing: what a worker asked for in its last
// moment the runtime may make only now. It ceases when the worker's ID is that of another task, which may be building.
func (p *Provisioner) sweep(ctx context.Context, worker string, of driver.TaskID) (swept int, err error) {
	if p.cfg.Builds == nil {
		return 0, nil
	}
	by := driver.ListOptions{Labels: map[string]string{LabelWorker: worker}}
	for range 10 {
		ctx, cancel := within(ctx, removeBound)
		n, err := p.sweepOnce(ctx, worker, of, by)
		cancel()
		swept += n
		if err != nil || n == 0 {
			return swept, err
		}
		p.log.Info("removed what a worker had left", "worker", worker, "objects", n)
	}
	return swept, fmt.Errorf("worker %s leaves more and more", worker)
}

func (p *Provisioner) sweepOnce(ctx context.Context, worker string, of driver.TaskID, by driver.ListOptions) (n int, err error) {
	d := p.cfg.Builds
	others, err := p.standing(ctx, worker) // this provisioner's own view may be old
	if err != nil || slices.ContainsFunc(others, func(t driver.Task) bool { return t.ID != of }) {
		return 0, err
	}
	tasks, err := d.List(ctx, by)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, t := range tasks {
		errs = append(errs, d.Remove(ctx, t.ID))
	}
	sandboxes, err := driver.ListSandboxes(ctx, d, by)
	if err != nil && !errors.Is(err, driver.ErrUnsupported) {
		return 0, err
	}
	for _, s := range sandboxes {
		errs = append(errs, driver.RemoveSandbox(ctx, d, s.ID))
	}
	volumes, err := removeVolumes(ctx, d, by, all)
	return len(tasks) + len(sandboxes) + volumes, errors.Join(append(errs, err)...)
}
