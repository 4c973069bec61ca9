package aggregator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// A worker that has ended grants no claims. Who says in its place how its build has ended is settled on the runtime, which makes a name once: by volumes that are numbered. Who makes the next number has
// the turn for turnTime; it makes another one to go on, and anybody else may when the last one is older than that. So a turn is fenced as a claim is.

// turnTime is how long a turn lasts.
const turnTime = 5 * time.Second

// errTurnLost is the error of one whose turn is over.
var errTurnLost = errors.New("another aggregator says how the build has ended")

// turn is the right to say how the build of a worker has ended.
type turn struct {
	a *Aggregator
	m *member

	going sync.Mutex // one goes on with it at a time

	mu     sync.Mutex
	number int
	until  time.Time
}

func (t *turn) labels() map[string]string {
	return map[string]string{provisioner.LabelRole: provisioner.RoleVerdict, provisioner.LabelWorker: t.m.worker.ID, provisioner.LabelTask: t.m.mark}
}

// volumes are those of the worker, and the highest number that one of them has.
func (t *turn) volumes(ctx context.Context) (all []driver.Volume, highest int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	all, err = t.a.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: t.labels()})
	for _, v := range all {
		n, _ := strconv.Atoi(v.Labels[labelNumber])
		highest = max(highest, n)
	}
	return all, highest, err
}

const (
	labelNumber = "number"
	labelBy     = "by"
)

// take waits for the turn. first says that nobody had it before.
func (t *turn) take(ctx context.Context, gone func() bool) (first bool, err error) {
	seen, since := 0, time.Now()
	for {
		_, highest, err := t.volumes(ctx)
		if err != nil {
			return false, err
		}
		if highest > seen {
			seen, since = highest, time.Now()
		}
		if left := turnTime - time.Since(since); highest > 0 && left > 0 {
			_, _, changed := t.m.now()
			if !pauseUntil(ctx, left, changed) { // who has it may have removed the worker
				return false, context.Cause(ctx)
			}
			if gone() {
				return false, nil
			}
			continue
		}
		err = t.make(ctx, highest+1)
		if err == nil {
			return highest == 0, nil
		}
		if !errdefs.IsAlreadyExists(err) {
			return false, err
		}
	}
}

// make takes the turn, or goes on with it.
func (t *turn) make(ctx context.Context, number int) error {
	asked := time.Now()
	labels := t.labels()
	labels[labelNumber], labels[labelBy] = strconv.Itoa(number), t.a.id
	labels[provisioner.LabelBuild], labels[provisioner.LabelInstance] = strconv.FormatUint(t.m.worker.Build, 10), t.m.worker.Instance
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	_, err := t.a.cfg.Driver.CreateVolume(ctx, driver.VolumeSpec{Name: fmt.Sprintf("verdict-%s-%s-%d", t.m.worker.ID, t.m.mark[:min(8, len(t.m.mark))], number), Labels: labels})
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.number, t.until = number, asked.Add(turnTime)
	t.mu.Unlock()
	t.forget(ctx, number-mostTurns)
	return nil
}

// mostTurns is how many volumes of past turns stay: whoever makes one late must still find its number taken.
const mostTurns = 10

// forget removes volumes of long past turns. What it cannot remove the end does.
func (t *turn) forget(ctx context.Context, upTo int) {
	if upTo <= 0 {
		return
	}
	all, _, err := t.volumes(ctx)
	if err != nil {
		return
	}
	for _, v := range all {
		if n, _ := strconv.Atoi(v.Labels[labelNumber]); n <= upTo {
			_ = t.a.cfg.Driver.RemoveVolume(ctx, v.ID)
		}
	}
}

// Until is the end of the turn.
func (t *turn) Until() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.until
}

// Lease makes sure that the turn lasts for some time.
func (t *turn) Lease(ctx context.Context) error {
	t.going.Lock()
	defer t.going.Unlock()
	t.mu.Lock()
	number, left := t.number, time.Until(t.until)
	t.mu.Unlock()
	if left > turnTime/2 {
		return nil
	}
	if number == 0 || left <= 0 {
		return errTurnLost
	}
	err := t.make(ctx, number+1)
	if errdefs.IsAlreadyExists(err) {
		return errTurnLost
	}
	return err
}

// end removes the volumes.
func (t *turn) end(ctx context.Context) error {
	all, _, err := t.volumes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range all {
		errs = append(errs, t.a.cfg.Driver.RemoveVolume(ctx, v.ID))
	}
	return errors.Join(errs...)
}
