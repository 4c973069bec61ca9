package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fxamacker/cbor/v2"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/conns"
)

// Config says where the other process is.
type Config struct {
	// Dial connects to the listener of [Serve]. Required. It may be called by many goroutines at once.
	Dial func(ctx context.Context) (net.Conn, error)
	// Patience is how long a call that may be repeated is, when connections break or cannot be made. Zero is 30 seconds.
	Patience time.Duration
}

// Driver is a [driver.Driver], with every optional ability, that another process has. It is safe for use by many goroutines.
type Driver struct {
	cfg   Config
	conns conns.List
	dial  conns.Dial

	ctx   context.Context // ends with Close
	close context.CancelCauseFunc
}

var (
	_ driver.Driver    = (*Driver)(nil)
	_ driver.Execer    = (*Driver)(nil)
	_ driver.Dialer    = (*Driver)(nil)
	_ driver.Eventer   = (*Driver)(nil)
	_ driver.Puller    = (*Driver)(nil)
	_ driver.Statser   = (*Driver)(nil)
	_ driver.Sandboxer = (*Driver)(nil)
)

var errClosed = driver.WithClass(errdefs.ErrUnavailable, "the driver was closed")

// New returns a driver for the configuration. It makes no connection: a process that is not there shows in the first call. The caller closes the driver.
func New(cfg Config) (*Driver, error) {
	if cfg.Dial == nil || cfg.Patience < 0 {
		return nil, &driver.Error{Op: "configure remote", Err: driver.WithClass(errdefs.ErrInvalidArgument, "Dial is missing, or Patience is negative")}
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	d := &Driver{cfg: cfg}
	d.dial = d.conns.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return cfg.Dial(ctx) })
	d.ctx, d.close = context.WithCancelCause(context.Background())
	return d, nil
}

// Close ends the connections. See [driver.Driver].
func (d *Driver) Close() error {
	d.close(errClosed)
	d.conns.Close(errClosed)
	return nil
}

// broken is the error of a connection, rather than of a call.
type broken struct{ err error }

func (b *broken) Error() string {
	return "the process with the driver does not answer: " + b.err.Error()
}
func (b *broken) Unwrap() error { return errdefs.ErrUnavailable }

// begin sends a call on a connection of its own.
func (d *Driver) begin(ctx context.Context, method string, args any) (*wire, error) {
	if d.ctx.Err() != nil {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, err := encoding.Marshal(args)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	w, err := d.send(dialing, request{method, raw})
	switch {
	case err == nil, errdefs.IsInvalidArgument(err): // it is too large
		return w, err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, d.fault(err)
}

// send connects, and sends a call.
func (d *Driver) send(ctx context.Context, r request) (*wire, error) {
	c, err := d.dial(ctx, "", "")
	if err != nil {
		return nil, err
	}
	w := newWire(c)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	err = greet(w)
	if err == nil {
		err = w.sendValue(kindCall, r)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return w, nil
}

// hereTime is how long a server may take to take a connection: a socket accepts connections also when nobody listens to it any more.
const hereTime = 5 * time.Second

// greet waits for the server. A call is sent only then, so that none is begun when its caller has long given up.
func greet(w *wire) error {
	_ = w.SetReadDeadline(time.Now().Add(hereTime))
	k, _, err := w.receive()
	if err == nil && k != kindHere {
		err = errors.New("it speaks another language")
	}
	_ = w.SetReadDeadline(time.Time{})
	return err
}

// fault says what the error of a connection means.
func (d *Driver) fault(err error) error {
	if d.ctx.Err() != nil {
		return errClosed
	}
	return &broken{err}
}

// clearing is how long a call that was cancelled may take to clear up.
const clearing = 40 * time.Second

// cancelling has the server told when ctx ends, and the connection be given up if it does not answer then. The caller calls the function that it returns.
func cancelling(ctx context.Context, w *wire) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		_ = w.SetDeadline(time.Now().Add(clearing))
		_ = w.send(kindCancel) // or the connection has ended
	})
}

// finish waits for a call's answer. What else comes goes to other, if there is one, whose error cancels the call and is returned.
func finish[R any](ctx context.Context, d *Driver, w *wire, other func(k kind, payload []byte) error) (R, error) {
	defer cancelling(ctx, w)()
	var r R
	var refused error
	for {
		k, payload, err := w.receive()
		switch {
		case refused != nil && (err != nil || k == kindAnswer):
			return r, refused
		case err != nil:
			return r, d.fault(err)
		case k == kindAnswer:
			return r, decode(payload, &r)
		case other != nil && refused == nil:
			if refused = other(k, payload); refused != nil {
				_ = w.SetDeadline(time.Now().Add(clearing))
				_ = w.send(kindCancel)
			}
		}
	}
}

// decode takes an answer apart.
func decode(payload []byte, into any) error {
	var a answer
	if err := decoding.Unmarshal(payload, &a); err != nil {
		return fmt.Errorf("an answer that cannot be read: %v", err) // it may be the io.EOF of the decoder
	}
	if a.Failure != nil {
		return a.Failure.err()
	}
	if len(a.Value) == 0 || into == nil {
		return nil
	}
	return decoding.Unmarshal(cbor.RawMessage(a.Value), into)
}

// once makes a call that is not repeated.
func once[R any](ctx context.Context, d *Driver, op, subject, method string, args any) (R, error) {
	r, err := attempt[R](ctx, d, method, args)
	return r, driver.Wrap(ctx, op, subject, err)
}

// again makes a call that may be repeated, and is, when its connection breaks.
func again[R any](ctx context.Context, d *Driver, op, subject, method string, args any) (r R, err error) {
	err = d.patiently(ctx, func() error {
		r, err = attempt[R](ctx, d, method, args)
		return err
	})
	return r, driver.Wrap(ctx, op, subject, err)
}

func attempt[R any](ctx context.Context, d *Driver, method string, args any) (R, error) {
	w, err := d.begin(ctx, method, args)
	if err != nil {
		var r R
		return r, err
	}
	defer w.Close()
	return finish[R](ctx, d, w, nil)
}

// patiently repeats f while its connection breaks, for as long as Config.Patience says, longer and longer apart.
func (d *Driver) patiently(ctx context.Context, f func() error) error {
	var began time.Time
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		started := time.Now()
		err := f()
		var b *broken
		if !errors.As(err, &b) || ctx.Err() != nil {
			return err
		}
		if began.IsZero() || time.Since(started) > d.cfg.Patience { // it was well for a while
			began, wait = time.Now(), 20*time.Millisecond
		}
		if time.Since(began) > d.cfg.Patience {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-d.ctx.Done():
		}
		t.Stop()
	}
}
