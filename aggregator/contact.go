package aggregator

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// contact says whether the sink can be reached at all. Who cannot reach it passes its workers on to those that wait for them, and waits for none; when nobody can reach it, nobody waits, and everything stays.
type contact struct {
	mu         sync.Mutex
	lost, made chan struct{} // one of them is closed
	since      time.Time     // when it was lost; zero while there is some
}

func newContact() *contact {
	c := &contact{lost: make(chan struct{}), made: make(chan struct{}), since: time.Now()}
	close(c.lost) // nobody has asked
	return c
}

// state are two channels, of which one is closed: while there is none, or while there is some.
func (c *contact) state() (lost, made <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost, c.made
}

// isLost reports whether there is none.
func (c *contact) isLost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.since.IsZero()
}

// isOver reports whether there has been none for so long that all others who cannot reach the sink either know it too, and do not wait any more.
func (c *contact) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.since.IsZero() && time.Since(c.since) >= contactLost*(contactEvery+contactBound)
}

// set notes whether there is some, and reports whether that is new.
func (c *contact) set(made bool) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch lost := !c.since.IsZero(); {
	case made && lost:
		c.lost, c.since = make(chan struct{}), time.Time{}
		close(c.made)
	case !made && !lost:
		c.made, c.since = make(chan struct{}), time.Now()
		close(c.lost)
	default:
		return false
	}
	return true
}

// The sink is asked whether it is there every contactEvery, and has contactBound for an answer. After contactLost that it has not given there is no contact, and after as many that it has given there is again.
const (
	contactEvery = 2 * time.Second
	contactBound = 3 * time.Second
	contactLost  = 2
)

// keepContact looks whether the sink can be reached, until ctx ends: nothing tells of a network that is cut.
func (a *Aggregator) keepContact(ctx context.Context) {
	answered, failed := contactLost, 0 // in a row
	for {
		bounded, done := context.WithTimeout(ctx, contactBound)
		err := a.cfg.Sink.Ready(bounded)
		done()
		if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || a.tide.roseSince(time.Now().Add(-contactLost*contactEvery)) {
			err = nil // it has answered, or has just stored something
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			answered, failed = answered+1, 0
		default:
			answered, failed = 0, failed+1
		}
		if answered >= contactLost && a.contact.set(true) {
			a.tide.rise()
			a.log.Info("the sink can be reached")
		}
		if failed == contactLost {
			a.contact.set(false)
			a.tide.fall(err)
			a.log.Warn("the sink cannot be reached; workers that others wait for will be passed on", "error", err)
		}
		a.share.changed()
		if !pause(ctx, contactEvery) {
			return
		}
	}
}
