package remote

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Serve answers the calls of those who connect to l with d, until ctx ends, which cancels the calls under way, or l fails. It returns when all calls have, with nil
// if ctx has ended. It closes l, and not d.
func Serve(ctx context.Context, l net.Listener, d driver.Driver) error {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		calls.Go(func() { serve(ctx, newWire(c), d) })
	}
}

// call is one that the server works on.
type call struct {
	*wire
	d      driver.Driver
	args   []byte
	inlet  inlet   // what the caller sends
	outlet *outlet // of Dial: what it gets
	cancel context.CancelCauseFunc
}

// past is a deadline that wakes whoever reads.
var past = time.Unix(1, 0)

// errGone is the cause of the end of a call whose caller has gone away.
var errGone = driver.WithClass(context.Canceled, "the caller has gone away")

// serve answers one call.
func serve(ctx context.Context, w *wire, d driver.Driver) {
	defer w.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unblock := context.AfterFunc(ctx, func() { w.SetReadDeadline(past) }) // who says nothing is not waited for
	k, payload, err := w.receive()
	var req request
	if err == nil && k == kindCall {
		err = decoding.Unmarshal(payload, &req)
	}
	method := methods[req.Method]
	if !unblock() || err != nil || k != kindCall {
		return
	}
	c := &call{wire: w, d: d, args: req.Args, outlet: newOutlet(w), cancel: cancel}
	c.inlet.init(w)
	var value any
	if method == nil {
		err = driver.WithClass(errdefs.ErrNotImplemented, "there is no call %q: the two sides are of different versions", req.Method)
	} else {
		listening := make(chan struct{})
		go func() { defer close(listening); c.listen() }()
		value, err = method(ctx, c)
		defer func() { w.SetReadDeadline(past); <-listening }()
	}
	_ = c.answer(value, err) // the caller may have gone
}

func (c *call) answer(value any, err error) error {
	a := answer{Failure: failureOf(err)}
	if err == nil {
		if a.Value, err = encoding.Marshal(value); err != nil {
			return err
		}
	}
	return c.sendValue(kindAnswer, a)
}

// listen takes what the caller sends until it has gone, or the call is over.
func (c *call) listen() {
	for {
		k, payload, err := c.receive()
		switch {
		case err != nil:
			c.inlet.fail(errGone)
			c.cancel(errGone)
			return
		case k == kindCancel:
			c.inlet.fail(context.Canceled)
			c.cancel(context.Canceled)
		case k == kindData:
			c.inlet.add(payload)
		case k == kindEnd:
			c.inlet.end()
		case k == kindBroken:
			c.inlet.fail(errors.New(string(payload)))
		case k == kindTaken:
			c.outlet.taken(payload)
		}
	}
}

// take decodes a call's arguments.
func take[A any](c *call) (A, error) {
	var a A
	if err := decoding.Unmarshal(c.args, &a); err != nil {
		return a, driver.WithClass(errdefs.ErrInvalidArgument, "the arguments of the call: %v", err)
	}
	return a, nil
}
