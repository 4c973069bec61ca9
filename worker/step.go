package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

// Bounds of what the engine does when it stops something and the runtime does not answer.
const (
	stopBound  = 20 * time.Second       // beyond the grace time
	drainBound = 20 * time.Second       // without a line of a task that has ended
	doubtBound = 100 * time.Millisecond // for the news that a task which was started had ended before that
	backOff    = time.Second            // before a second attempt after trouble with the runtime; doubles each time
	maxBackOff = 30 * time.Second
)

// end is how an attempt ended.
type end struct {
	state  State
	reason string
	result *driver.Result
	// cause is what a retry would have to be for; empty if there is to be none.
	cause pipeline.RetryOn
}

// step runs a step, all its attempts, and tells how it ended.
func (e *engine) step(stage *pipeline.Stage, s *pipeline.Step, p *prep) (State, string) {
	log := e.j.Log(s.ID)
	defer log.Close()
	for {
		end := e.attempt(p)
		again := e.again(s, p, end)
		if again && p.tail != nil {
			p.tail.close() // no line of this attempt may come behind the next one's
		}
		log.Flush()
		e.tellDropped(s, log)
		if again {
			// Before anything is removed, so that whoever goes on with the build does not miss it.
			reason := fmt.Sprintf("attempt %d of %d: %s; trying again", p.attempt, s.Retry.Count+1, end.reason)
			e.j.Append(Event{Kind: KindWarning, Step: s.ID, Attempt: p.attempt, Reason: reason})
			if end.result == nil && p.task != "" { // nobody knows whether it still runs; two attempts must not
				if err := e.remove(p.task); err != nil {
					again = false
					end.reason += e.mask.String("; it was not tried again, as the first attempt may still run: " + err.Error())
				}
			}
		}
		if !again {
			if err := e.j.Err(); err != nil && end.state == Succeeded {
				end.state, end.reason = Errored, err.Error()
			}
			e.j.Append(Event{Kind: KindStep, Stage: stage.Name, Step: s.ID, State: end.state, Attempt: p.attempt, Reason: end.reason, Result: end.result, Phases: p.told()})
			e.finishLater(p)
			return end.state, end.reason
		}
		e.finishLater(p)
		if end.cause == pipeline.RetryOnInfrastructure {
			pause(e.stop, min(backOff<<(p.attempt-1), maxBackOff))
		}
		p = e.prepare(p.stage, s, p.attempt+1)
	}
}

// tellDropped says how much of a log went beyond a limit.
func (e *engine) tellDropped(s *pipeline.Step, log *journal.Log) {
	if lines, bytes := log.Dropped(); lines > 0 {
		e.warn(s.ID, "the log is not complete: a limit was reached, and %d lines (%d bytes) were not kept", lines, bytes)
	}
}

// finishLater takes away what is left of an attempt, in the background. How it ended has been recorded: whoever goes on with the build
// does not look for it.
func (e *engine) finishLater(p *prep) { e.made.background.Go(func() { e.finish(p) }) }

// again reports whether the step is to be tried once more.
func (e *engine) again(s *pipeline.Step, p *prep, end end) bool {
	return p.attempt <= s.Retry.Count && end.cause != "" && slices.Contains(s.Retry.On, end.cause) && e.stopped() == nil
}

// pause lets time pass, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// attempt runs one attempt of a step to its end.
func (e *engine) attempt(p *prep) end {
	select {
	case <-p.done:
	default:
		if !e.past.begun(p.step.ID, p.attempt) {
			e.tell(p, Preparing, time.Time{})
		}
		select {
		case <-p.done:
		case <-e.patience.Done():
			return e.failed(context.Cause(e.patience))
		}
	}
	if p.err == nil && p.past == nil {
		p.err = e.space.wait()
	}
	if p.err != nil {
		return e.failed(p.err)
	}
	var since time.Time
	if p.past == nil {
		e.tell(p, Starting, time.Time{})
		if err := e.j.Err(); err != nil { // whoever goes on with the build must know that it was started
			return end{state: Errored, reason: err.Error()}
		}
	} else {
		since = p.past.since
	}
	ctx := e.stop
	if t := time.Duration(p.step.Timeout); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(e.stop, left(t, since), &verdict{Failed, tookTooLong(t)})
		defer cancel()
	}
	began := time.Now()
	err := bounded(e.patience, func() error { return e.d.Start(ctx, p.task) })
	if err != nil && ctx.Err() == nil {
		return e.failed(err)
	}
	if p.past == nil || !p.past.running {
		p.phase(journal.PhaseStart, began)
	}
	p.began(ctx)
	return e.await(ctx, p)
}

// began tells that the step runs, unless it turns out at once that it never did: Start succeeds also where the task ended before
// its main process was started.
func (p *prep) began(ctx context.Context) {
	since := time.Now()
	t := time.NewTimer(doubtBound)
	defer t.Stop()
	select {
	case w := <-p.tail.result:
		p.tail.result <- w // there is room for one
		if w.err == nil && w.result.Started.IsZero() {
			return
		}
	case <-ctx.Done():
		return
	case <-t.C:
	}
	p.running(since)
}

func tookTooLong(timeout time.Duration) string {
	return fmt.Sprintf("took longer than its time-out of %s", timeout)
}

// overdue reports whether an attempt that an earlier process has begun ended behind its time-out: then that process had stopped it, or would have.
func (p *prep) overdue(r driver.Result) bool {
	t := time.Duration(p.step.Timeout)
	if p.past == nil || t == 0 || r.Ended.IsZero() {
		return false
	}
	return r.Ended.After(p.past.since.Add(t)) || !r.Started.IsZero() && r.Ended.Sub(r.Started) > t
}

// told are the phases, once who made the task does not add to them any more.
func (p *prep) told() []journal.Phase {
	select {
	case <-p.done:
		return p.phases
	default:
		return nil
	}
}

// tell records a state of an attempt that has not ended, since a time or, if that is zero, now.
func (e *engine) tell(p *prep, state State, since time.Time) {
	e.j.Append(Event{Time: since, Kind: KindStep, Stage: e.cfg.Plan.Stages[p.stage].Name, Step: p.step.ID, State: state, Attempt: p.attempt})
}

// await waits for a started task, or stops it when ctx ends.
func (e *engine) await(ctx context.Context, p *prep) end {
	var w waited
	var cause *verdict
	select {
	case w = <-p.tail.result:
	case <-ctx.Done():
		errors.As(context.Cause(ctx), &cause)
		w = e.halted(p)
	}
	if w.err == nil {
		e.lanes.release(p.lane, p.stage)
	}
	if r := w.result; !r.Started.IsZero() && !r.Ended.IsZero() {
		p.phases = append(p.phases, journal.Phase{Name: journal.PhaseRun, Began: r.Started.UTC(), Ended: r.Ended.UTC()})
	}
	copying := time.Now()
	defer func() { p.phase(journal.PhaseCopy, copying) }()
	e.drain(p)
	w.result.Reason = e.mask.String(w.result.Reason)
	switch {
	case cause != nil && w.err != nil:
		return end{state: cause.state, reason: cause.reason + e.mask.String("; stopping it failed: "+w.err.Error())}
	case cause != nil:
		out := end{state: cause.state, reason: cause.reason, result: &w.result}
		if e.stopped() == nil {
			out.cause = pipeline.RetryOnFailure // the step's own time-out
		}
		return out
	case w.err != nil:
		return e.failed(w.err)
	}
	if p.overdue(w.result) {
		return end{state: Failed, reason: tookTooLong(time.Duration(p.step.Timeout)), result: &w.result, cause: pipeline.RetryOnFailure}
	}
	out := e.judge(w.result)
	out.reason += shellMissing(p.step, w.result)
	if out.state == Succeeded || out.state == Failed {
		e.keepArtifacts(p)
	}
	return out
}

// halted stops a task: within the grace time, or at once if the build is stopped by force.
func (e *engine) halted(p *prep) waited {
	grace := e.cfg.Grace
	if e.force.Err() != nil {
		grace = 0
	}
	ctx, cancel := context.WithTimeout(e.patience, grace+stopBound)
	defer cancel()
	forced := context.AfterFunc(e.force, cancel)
	if grace > 0 {
		e.made.background.Go(func() { e.terminate(ctx, p) })
	}
	err := bounded(ctx, func() error { return e.d.Stop(ctx, p.task, driver.StopOptions{Grace: grace}) })
	forced()
	if err != nil {
		if rerr := e.remove(p.task); rerr != nil {
			return waited{err: errors.Join(err, rerr)}
		}
	}
	t := time.NewTimer(stopBound)
	defer t.Stop()
	select {
	case w := <-p.tail.result:
		return w
	case <-t.C:
	case <-e.patience.Done():
	}
	return waited{err: errors.New("the runtime does not say that it has ended")}
}

// drain waits until the last lines are in the log: a task has ended, and they are on their way. There may be many; it gives up
// when none has come for a while.
func (e *engine) drain(p *prep) {
	t := time.NewTicker(drainBound)
	defer t.Stop()
	for lines := p.tail.lines.Load(); ; {
		select {
		case <-p.tail.drained:
			return
		case <-e.force.Done():
			return
		case <-t.C:
		}
		now := p.tail.lines.Load()
		if now == lines {
			e.warn(p.step.ID, "the log may lack its last lines: the runtime delivered neither a line nor the end for %s", drainBound)
			return
		}
		lines = now
	}
}

// judge says what a result means for the step.
func (e *engine) judge(r driver.Result) end {
	out := end{state: Failed, reason: r.String(), result: &r, cause: pipeline.RetryOnFailure}
	switch {
	case r.Succeeded():
		return end{state: Succeeded, result: &r}
	case r.Outcome == driver.Unknown || r.Outcome == driver.Lost || r.Outcome == driver.Evicted || r.Outcome == driver.Stopped:
		out.state, out.cause = Errored, pipeline.RetryOnInfrastructure
	}
	switch r.Outcome {
	case driver.Unknown:
		out.reason = "how it ended is not known for certain, so it is not taken for a success: " + cmp.Or(r.Reason, "the runtime has no record")
	case driver.Lost:
		out.reason = "its container was removed by someone else while it ran: " + out.reason
	}
	return out
}

// failed says what an error means for the step whose task could not be made, started or watched.
func (e *engine) failed(err error) end {
	if v := e.stopped(); v != nil {
		return end{state: v.state, reason: v.reason}
	}
	out := end{state: Errored, reason: e.mask.String(err.Error()), cause: pipeline.RetryOnInfrastructure}
	switch {
	case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err), errdefs.IsPermissionDenied(err), errdefs.IsUnauthorized(err):
		out.state, out.cause = Failed, pipeline.RetryOnFailure
	case errors.Is(err, driver.ErrUnsupported), errdefs.IsAlreadyExists(err), errors.Is(err, errGone):
		out.cause = ""
	}
	return out
}

// finish takes away what is left of an attempt.
func (e *engine) finish(p *prep) {
	<-p.done
	p.cancel()
	defer e.lanes.release(p.lane, p.stage) // until it is removed it may run
	started := false
	if p.tail != nil {
		started = p.tail.close()
	}
	if p.task == "" || e.cfg.Keep && started {
		return
	}
	if err := e.remove(p.task); err == nil {
		e.made.gone(p.task) // what is left is tried again at the end of the build
	}
}

// remove removes a task, whatever becomes of the build.
func (e *engine) remove(id driver.TaskID) error {
	ctx, cancel := context.WithTimeout(e.patience, stopBound)
	defer cancel()
	return bounded(ctx, func() error { return e.d.Remove(ctx, id) })
}
