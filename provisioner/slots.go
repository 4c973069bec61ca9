package provisioner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// A worker may run while it holds a slot of each limit that it counts against. A slot is a volume, empty and never mounted, whose name has the limit and a
// number below that: that the runtime makes one name once is what keeps several provisioners within a limit. Its label says which worker has it. It is given back
// when that has ended. So a slot outlives the provisioner that took it, and whoever sees a worker that has its slots and was not started may start it: Start does nothing
// the second time.

// slot is one that is taken.
type slot struct {
	id            driver.VolumeID
	limit, worker string
	by            string
	number        int
}

// table is who has which slots.
type table struct {
	slots []slot
}

// slots asks the runtime.
func (p *Provisioner) slots(ctx context.Context) (*table, error) {
	volumes, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: roleSlot}})
	if err != nil {
		return nil, err
	}
	t := &table{}
	for _, v := range volumes {
		limit := v.Labels[labelLimit]
		n, err := strconv.Atoi(strings.TrimPrefix(v.Name, slotPrefix(limit)))
		if err != nil {
			continue // it is not ours
		}
		t.slots = append(t.slots, slot{v.ID, limit, v.Labels[LabelWorker], v.Labels[labelBy], n})
	}
	return t, nil
}

func slotPrefix(limit string) string { return "slot-" + limit + "-" }

func slotName(limit string, n int) string { return slotPrefix(limit) + strconv.Itoa(n) }

// of returns the slots of a limit that a worker has, the one with the lowest number first.
func (t *table) of(worker, limit string) []slot {
	var of []slot
	for _, s := range t.slots {
		if s.worker == worker && s.limit == limit {
			of = append(of, s)
		}
	}
	slices.SortFunc(of, func(a, b slot) int { return a.number - b.number })
	return of
}

// taken reports which numbers of a limit are taken, and how many.
func (t *table) taken(limit string) map[int]bool {
	taken := map[int]bool{}
	for _, s := range t.slots {
		if s.limit == limit {
			taken[s.number] = true
		}
	}
	return taken
}

func (t *table) remove(id driver.VolumeID) {
	t.slots = slices.DeleteFunc(t.slots, func(s slot) bool { return s.id == id })
}

// free gives a slot back.
func (p *Provisioner) free(ctx context.Context, t *table, s slot) error {
	if err := p.cfg.Driver.RemoveVolume(ctx, s.id); err != nil {
		return err
	}
	t.remove(s.id)
	delete(p.seen, s.id)
	return nil
}

// errFull is why a worker has to wait.
type errFull struct{ limit limit }

func (e errFull) Error() string {
	return fmt.Sprintf("%d %s, which is the limit", e.limit.most, e.limit.what)
}

// take gets a worker the slots that it needs, or none that it had not: then the error is errFull.
func (p *Provisioner) take(ctx context.Context, t *table, w *Worker) (err error) {
	var took []slot
	defer func() {
		if err == nil {
			return
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, s := range took {
			if left := p.free(clean, t, s); left != nil { // it will be taken again, or given back at the worker's end
				err = errors.Join(err, left)
			}
		}
	}()
	limits := p.cfg.Limits.of(w)
	for _, l := range limits { // before anything is taken
		if len(t.of(w.ID, l.name)) == 0 && len(t.taken(l.name)) >= l.most {
			return errFull{l}
		}
	}
	for _, l := range limits {
		if len(t.of(w.ID, l.name)) > 0 {
			continue
		}
		s, err := p.takeOne(ctx, t, w.ID, l)
		if err != nil {
			return err
		}
		took = append(took, s)
	}
	return nil
}

// takeOne takes a free slot of a limit.
func (p *Provisioner) takeOne(ctx context.Context, t *table, worker string, l limit) (slot, error) {
	taken := t.taken(l.name)
	if len(taken) >= l.most { // also slots beyond a limit that was larger before
		return slot{}, errFull{l}
	}
	for n := range l.most {
		if taken[n] {
			continue
		}
		labels := map[string]string{LabelRole: roleSlot, LabelWorker: worker, labelLimit: l.name, labelBy: p.id}
		id, err := p.cfg.Driver.CreateVolume(ctx, driver.VolumeSpec{Name: slotName(l.name, n), Labels: labels})
		if errdefs.IsAlreadyExists(err) { // another provisioner was faster
			continue
		}
		if err != nil {
			return slot{}, err
		}
		s := slot{id, l.name, worker, p.id, n}
		t.slots = append(t.slots, s)
		return s, nil
	}
	return slot{}, errFull{l}
}

// schedule gives back the slots of those that have ended, and starts whose turn it is.
func (p *Provisioner) schedule(ctx context.Context) error {
	t, err := p.slots(ctx)
	if err != nil {
		return err
	}
	for _, s := range t.slots {
		if _, known := p.fleet.worker(s.worker); !known { // another provisioner has just made it, or it was removed
			if err := p.refresh(ctx); err != nil {
				return err
			}
			break
		}
	}
	alive := p.fleet.alive()
	running := map[string]int{}
	var stuck []error
	for _, s := range slices.Clone(t.slots) {
		task, lives := alive[s.worker]
		if !lives || t.of(s.worker, s.limit)[0].id != s.id { // or two provisioners took one for it at the same time
			if err := p.free(ctx, t, s); err != nil { // the others need not wait for it
				stuck = append(stuck, fmt.Errorf("slot %s of worker %s: %w", slotName(s.limit, s.number), s.worker, err))
			}
			continue
		}
		if s.limit == "all" {
			w := workerOf(task)
			running[projectKey(&w)]++
		}
	}
	return errors.Join(append(stuck, p.startNext(ctx, t, alive, running))...)
}

// startNext starts those that come next, as far as there are slots.
func (p *Provisioner) startNext(ctx context.Context, t *table, alive map[string]driver.Task, running map[string]int) error {
	var queue []waiting
	for id, task := range alive {
		w := workerOf(task)
		switch held := t.of(id, "all"); {
		case task.State != driver.StateCreated && task.State != driver.StateStarting:
		case len(held) > 0:
			p.adopt(ctx, t, task, held[0])
		case task.State == driver.StateCreated:
			queue = append(queue, waiting{id, projectKey(&w), w.Priority, task.Created})
		}
	}
	queue = arrange(queue, running)
	reasons := map[string]string{}
	for _, next := range queue {
		w := workerOf(alive[next.id])
		err := p.take(ctx, t, &w)
		full, is := err.(errFull)
		switch {
		case is:
			reasons[next.id] = full.Error()
		case err != nil:
			return err
		default:
			p.begin(alive[next.id])
		}
	}
	queue = slices.DeleteFunc(queue, func(q waiting) bool { return reasons[q.id] == "" })
	p.fleet.place(queue, reasons)
	return nil
}

// patience is how long a worker that has its slots may take to be started by the provisioner that took them, before another does it: that may have died.
const patience = 10 * time.Second

// adopt goes on with the start of a worker that has its slots.
func (p *Provisioner) adopt(ctx context.Context, t *table, task driver.Task, held slot) {
	if held.by == p.id {
		p.begin(task)
		return
	}
	since, known := p.seen[held.id]
	switch w := workerOf(task); {
	case !known:
		p.seen[held.id] = time.Now()
		time.AfterFunc(patience, p.poke)
	case time.Since(since) < patience:
	case p.take(ctx, t, &w) == nil: // those that it lacks still
		p.begin(task)
	}
}

// begin starts a worker in the background, unless this value does so already.
func (p *Provisioner) begin(task driver.Task) {
	if _, already := p.starting.LoadOrStore(task.ID, true); already {
		return
	}
	p.running.Go(func() {
		defer p.starting.Delete(task.ID)
		p.start(task)
	})
}

// start starts a worker; a runtime that is away is waited for. One that cannot be started is ended, so that its slots are free.
func (p *Provisioner) start(task driver.Task) {
	id := task.Labels[LabelWorker]
	p.log.Info("starting", "worker", id)
	wait := backoff{}
	for {
		err := p.cfg.Driver.Start(p.ctx, task.ID)
		if err == nil {
			p.attend(task.ID)
			return
		}
		if p.ctx.Err() != nil {
			return
		}
		if _, there := p.fleet.worker(id); !there {
			return
		}
		if !errdefs.IsUnavailable(err) && !errdefs.IsCanceled(err) && !errdefs.IsDeadlineExceeded(err) {
			p.log.Error("a worker cannot be started", "worker", id, "error", err)
			p.fleet.refuse(task.ID, err.Error())
			if err = p.cfg.Driver.Stop(p.ctx, task.ID, driver.StopOptions{}); err == nil || errdefs.IsNotFound(err) {
				return
			}
		}
		p.log.Warn("a worker was not started; trying again", "worker", id, "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}
