package kubernetes

import (
	stdbytes "bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// call is a connection to the keeper of a pod, by pods/exec.
type call struct {
	*wire.Conn
	cancel context.CancelFunc
	socket *socket
}

// helperCall is the command that a call runs in the keeper's container.
var helperCall = []string{"/helper", "call"}

// call opens a connection and sends the request. The end of ctx ends it.
func (d *Driver) call(ctx context.Context, pod string, r wire.Request) (*call, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := d.open(ctx, pod, helperCall)
	if err != nil {
		cancel()
		return nil, err
	}
	c := &call{Conn: wire.New(s, s), cancel: cancel, socket: s}
	r.Version = wire.Version
	if err := c.WriteJSON(wire.FrameRequest, r); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// brokenCall is the error of a call that ended without an answer.
func brokenCall(err error, said string) error {
	if err == nil {
		err = errors.New("the call ended without an answer")
	}
	if said = strings.TrimSpace(said); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	if class := classOfStatus(err); class != nil {
		return driver.WithClass(class, "%s", err)
	}
	return driver.WithClass(errdefs.ErrUnavailable, "call the keeper: %s", err)
}

// close ends the connection; what the helper does for it ends too.
func (c *call) close() {
	c.cancel()
	c.socket.close()
}

// answer reads frames until the last one; f takes the others.
func (c *call) answer(f func(kind byte, payload []byte) error) (*wire.Answer, error) {
	for {
		kind, payload, err := c.Read()
		if err != nil {
			return nil, err
		}
		if kind == wire.FrameAnswer {
			var a wire.Answer
			if err := json.Unmarshal(payload, &a); err != nil {
				return nil, err
			}
			return &a, nil
		}
		if f != nil {
			if err := f(kind, payload); err != nil {
				return nil, err
			}
		}
	}
}

// ask makes a call that may be repeated, and repeats it when it breaks off, until the pod is gone or the API server was not
// reached for too long. An error that matches errGone or errKeeperGone says that asking again is of no use.
func (d *Driver) ask(ctx context.Context, h handle, r wire.Request, f func(kind byte, payload []byte) error) (*wire.Answer, error) {
	return d.askEach(ctx, h, func() wire.Request { return r }, f)
}

// askEach is ask with a request that is another each time.
func (d *Driver) askEach(ctx context.Context, h handle, request func() wire.Request, f func(kind byte, payload []byte) error) (*wire.Answer, error) {
	var b backoff
	t := d.tries()
	for {
		if err := d.reachable(ctx, h); err != nil {
			return nil, err
		}
		a, err := d.askOnce(ctx, h, request(), f, t.good)
		if err == nil {
			return a, ofAnswer(a)
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if !unreachable(err) && !errdefs.IsNotFound(err) && !(t.failing() && refused(err)) {
			return nil, err
		}
		if err := t.failed(err); err != nil {
			return nil, err
		}
		if !b.wait(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

func (d *Driver) askOnce(ctx context.Context, h handle, r wire.Request, f func(kind byte, payload []byte) error, good func()) (*wire.Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The end of a pod ends the call also when the connection does not say so.
	go func() {
		err := d.until(ctx, h, func(p *core.Pod) (bool, error) { return p == nil || keeperEnded(p), nil })
		if err == nil {
			cancel(errGone)
		}
	}()
	c, err := d.call(ctx, h.name, r)
	if err != nil {
		return nil, asBroken(err)
	}
	defer c.close()
	began := time.Now()
	a, err := c.answer(func(kind byte, payload []byte) error {
		good()
		if f == nil {
			return nil
		}
		return f(kind, payload)
	})
	if time.Since(began) > d.cfg.Patience { // it was open for that long, with nothing to say: what comes now is another outage
		good()
	}
	return a, asBroken(err)
}

// asBroken gives the end of a pod the class of what may be asked again: whoever asks looks at the pod first.
func asBroken(err error) error {
	if errors.Is(err, errGone) {
		return driver.WithClass(errdefs.ErrUnavailable, "%s", err)
	}
	return err
}

// limited keeps the first words that are written to it.
type limited struct {
	mu sync.Mutex
	b  stdbytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 4096 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
