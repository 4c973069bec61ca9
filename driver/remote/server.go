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

// Serve answers the calls of those who connect to l with d, until ctx ends, which cancels the calls under way and cuts off who waits for their answers, or l is closed. It returns when all calls have,
// with nil if ctx has ended. It closes l, and not d.
func Serve(ctx context.Context, l net.Listener, d driver.Driver) error {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files
			t := time.NewTimer(acceptPause)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			continue
		}
		calls.Go(func() { serve(ctx, newWire(c), d) })
	}
}

// Times that the server allows.
const (
	acceptPause = 100 * time.Millisecond // when no connection can be taken
	parting     = 4 * time.Second        // for what is still to be sent when it ends
)

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
func serve(serving context.Context, w *wire, d driver.Driver) {
	defer w.Close()
	ctx, cancel := context.WithCancelCause(serving)
	defer cancel(nil)
	unblock := context.AfterFunc(ctx, func() { w.SetReadDeadline(past) }) // who says nothing is not waited for
	if w.send(kindHere) != nil {
		return
	}
	k, payload, err := w.receive()
	var req request
	if err == nil && k == kindCall {
		err = decoding.Unmarshal(payload, &req)
	}
	if !unblock() || err != nil || k != kindCall {
		return
	}
	method := methods[req.Method]
	if method == nil {
		method = func(context.Context, *call) (any, error) {
			return nil, driver.WithClass(errdefs.ErrNotImplemented, "there is no call %q: the two sides are of different versions", req.Method)
		}
	}
	c := &call{wire: w, d: d, args: req.Args, outlet: newOutlet(w), cancel: cancel}
	c.inlet.init(w)
	defer context.AfterFunc(serving, func() {
		c.inlet.fail(context.Canceled)
		_ = w.SetWriteDeadline(time.Now().Add(parting))
	})()
	listening := make(chan struct{})
	go func() { defer close(listening); c.listen() }()
	value, err := method(ctx, c)
	if err == nil || serving.Err() == nil { // who wants something else than the end of the server asks again
		_ = c.answer(value, err) // the caller may have gone
	}
	_ = w.SetReadDeadline(past)
	<-listening
}

func (c *call) answer(value any, err error) error {
	a := answer{Failure: failureOf(err)}
	if err == nil {
		if a.Value, err = encoding.Marshal(value); err == nil && len(a.Value) > maxFrame/2 {
			err = driver.WithClass(errdefs.ErrInternal, "the answer has %d bytes, which is too much", len(a.Value))
		}
		if err != nil {
			a = answer{Failure: failureOf(err)}
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
