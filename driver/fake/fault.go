package fake

import (
	"context"
)

// Fault is trouble for the calls of one driver value.
type Fault struct {
	// Op is the operation as [driver.Error].Op has it: "create", "start", "logs", "wait", "stop", "remove", "list",
	// "copy in", "copy out", "create volume", "remove volume", "list volumes", "capabilities", "exec", "dial",
	// "events", "pull", "stats", "create sandbox", "remove sandbox", "list sandboxes"; or "next", for each entry of
	// a log.
	Op string
	// After is how many calls go well first.
	After int
	// Times is how many calls the fault hits; 0 is every one.
	Times int
	// Delay, if not nil, holds the call until the channel is closed, or the call's context ends.
	Delay <-chan struct{}
	// Err is what the call returns, without having done anything; nil lets it go on.
	Err error
}

// Inject makes later calls of this driver value meet the fault. Of several for one operation, each counts its own
// calls.
func (d *Driver) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &f)
}

// Heal takes away all that Inject has added.
func (d *Driver) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// fault lets the faults of an operation happen.
func (d *Driver) fault(ctx context.Context, op string) error {
	for _, f := range d.hit(op) {
		if f.Delay != nil {
			select {
			case <-f.Delay:
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-d.closed: // reach says so
			}
		}
		if f.Err != nil {
			return f.Err
		}
	}
	return nil
}

// hit counts a call, and returns the faults that it meets.
func (d *Driver) hit(op string) []Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	var hits []Fault
	rest := d.faults[:0]
	for _, f := range d.faults {
		switch {
		case f.Op != op:
		case f.After > 0:
			f.After--
		default:
			hits = append(hits, *f)
			if f.Times == 1 {
				continue // used up
			}
			f.Times = max(0, f.Times-1)
		}
		rest = append(rest, f)
	}
	d.faults = rest
	return hits
}
