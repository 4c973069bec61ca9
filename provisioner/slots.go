package provisioner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver"
)

// A worker may run while it holds a slot of each limit that it counts against. A slot is a volume, empty and never mounted, that says which task it is for. Its name is random
// and never used again, so whoever removes it, however late, and on a runtime that removes volumes by name, removes no other's.
//
// What keeps several provisioners within a limit is the order: each first makes the slot, then asks for all slots there are, and starts the worker only if these are no more
// than the limit; otherwise it takes its slot back. Of two that do so at the same moment at least one sees the other's. So it is also with two that take a slot of the same worker: who sees the other's gives
// way, and one starts it. A slot is not taken back once the worker may have been started, and
// is removed when that has ended, by anybody.

// slot is one that is taken.
type slot struct {
	id              driver.VolumeID
	limit, task, by string
	worker          string
}

// slots asks the runtime for those that there are.
func (p *Provisioner) slots(ctx context.Context) ([]slot, error) {
	volumes, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: roleSlot}})
	if err != nil {
		return nil, err
	}
	all := make([]slot, 0, len(volumes))
	for _, v := range volumes {
		if _, leaving := p.freeing.Load(v.ID); !leaving {
			all = append(all, slot{v.ID, v.Labels[labelLimit], v.Labels[LabelTask], v.Labels[labelBy], v.Labels[LabelWorker]})
		}
	}
	return all, nil
}

// MarkOf is how a volume names the task that it is for, see [LabelTask]: a build that is asked for again has the same worker, and never the same task.
func MarkOf(id driver.TaskID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// random makes a name that is used once.
func random() string { return strings.ToLower(rand.Text()[:16]) }

// take makes the slots of a worker. What was made is returned with an error too.
func (p *Provisioner) take(ctx context.Context, c *candidate) (took []slot, err error) {
	for _, l := range c.limits {
		labels := map[string]string{LabelRole: roleSlot, LabelWorker: c.id, LabelTask: c.mark, labelLimit: l.name, labelBy: p.id}
		id, err := p.cfg.Driver.CreateVolume(ctx, driver.VolumeSpec{Name: "slot-" + l.name + "-" + random(), Labels: labels})
		if err != nil {
			return took, fmt.Errorf("take a slot for worker %s: %w", c.id, err)
		}
		took = append(took, slot{id, l.name, c.mark, p.id, c.id})
	}
	return took, nil
}

// free removes a slot, in the background and until it is gone: from now on this value does not see it any more.
func (p *Provisioner) free(s slot) {
	if _, already := p.freeing.LoadOrStore(s.id, true); already {
		return
	}
	p.spawn(func() {
		defer p.freeing.Delete(s.id)
		p.persist(func() error { return p.cfg.Driver.RemoveVolume(p.ctx, s.id) }, "a slot is not given back yet; trying again", "limit", s.limit, "worker", s.worker)
	})
}

// usage is which tasks count against each limit.
type usage map[string]map[string]bool

func (u usage) add(limit, task string) {
	if u[limit] == nil {
		u[limit] = map[string]bool{}
	}
	u[limit][task] = true
}

// full returns the limit that has no room for a task, or nil.
func (u usage) full(c *candidate) *limit {
	for i, l := range c.limits {
		n := len(u[l.name])
		if u[l.name][c.mark] {
			n--
		}
		if n >= l.most {
			return &c.limits[i]
		}
	}
	return nil
}

// count adds a task to all of its limits.
func (u usage) count(c *candidate) {
	for _, l := range c.limits {
		u.add(l.name, c.mark)
	}
}

// patience is how long a worker that has slots may take to be started by the provisioner that took them, before another does it too: that may have died. Of one that may be dead, and
// whose worker cannot be started for want of room, the slots are given back after three times as long. Only here a clock decides.
const (
	patience  = 10 * time.Second
	abandoned = 3 * patience
)

// age is how long a slot has been as this provisioner sees it now, and asks for a look at it when that matters.
func (p *Provisioner) age(id driver.VolumeID, now time.Time) time.Duration {
	since, known := p.seen[id]
	if !known {
		since, p.seen[id] = now, now
		time.AfterFunc(patience, p.poke)
		time.AfterFunc(patience+p.lag, p.poke)
		time.AfterFunc(abandoned, p.poke)
	}
	return now.Sub(since)
}

// forget drops what is remembered of slots that are not there any more.
func (p *Provisioner) forget(slots []slot) {
	there := map[driver.VolumeID]bool{}
	for _, s := range slots {
		there[s.id] = true
	}
	maps.DeleteFunc(p.seen, func(id driver.VolumeID, _ time.Time) bool { return !there[id] })
}
