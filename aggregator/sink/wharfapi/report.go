package wharfapi

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/wharfci/wharf/aggregator/sink"
)

// report is one build at wharf-api. See [sink.Report].
type report struct {
	sink   *Sink
	build  uint64
	turn   sink.Turn
	dial   func(context.Context, string, string) (net.Conn, error)
	rest   *rest
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// What belongs to who writes lines.
	conn   *grpc.ClientConn
	stream *stream   // nil while none is open
	known  bool      // base is what wharf-api has
	base   uint64    // how many lines there are before those of the stream
	unsure bool      // lines may be under way,
	since  time.Time // which were sent before this
	most   uint64    // how many there can be at most, if that is known; else 0

	file time.Time // a file may be under way that was sent before this, if it is not zero; belongs to who puts files

	setting chan struct{} // has one while a state is set: those who wait can give up, as they could not with a mutex
	status  time.Time     // a state that is not final may be under way that was sent before this, if it is not zero
	final   bool          // a final state was set
}

// Lines returns how many lines wharf-api has.
func (r *report) Lines(ctx context.Context) (uint64, error) {
	n, _, err := r.Find(ctx, "")
	return n, err
}

// Find is Lines, and looks for one that begins with a prefix, which is none if it is empty. wharf-api tells all lines or none, so it costs no more.
func (r *report) Find(ctx context.Context, prefix string) (n, since uint64, err error) {
	if r.stream != nil {
		r.broken()
	}
	if n, since, err = r.rest.countLines(ctx, r.build, prefix); err != nil {
		return 0, 0, err
	}
	if err := r.settle(ctx, r.since, func() (done, more bool, err error) {
		if !r.unsure || r.most > 0 && n >= r.most {
			return true, false, nil
		}
		before := n
		n, since, err = r.rest.countLines(ctx, r.build, prefix)
		return false, n > before, err
	}); err != nil {
		return 0, 0, err
	}
	r.unsure, r.most, r.known, r.base = false, 0, true, n
	return n, since, nil
}

// settleEvery is how often wharf-api is asked what has arrived of what may be under way: nothing tells.
const settleEvery = 400 * time.Millisecond

// settle looks again and again until it is done, or nothing more has come for the time of Options.Settle, of what was sent before last.
func (r *report) settle(ctx context.Context, last time.Time, look func() (done, more bool, err error)) error {
	for {
		looked := time.Now()
		done, more, err := look()
		if err != nil || done {
			return err
		}
		if more {
			last = time.Now()
		}
		if looked.Sub(last) >= r.sink.opts.Settle {
			return nil
		}
		t := time.NewTimer(settleEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// Status returns the build's state. wharf-api tells which builds have not ended, and nothing of the others.
func (r *report) Status(ctx context.Context) (sink.Status, error) {
	builds, err := r.rest.active(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range builds {
		if b.ID == r.build {
			return b.Status, nil
		}
	}
	return sink.Ended, nil
}

// SetStatus sets the build's state. wharf-api would take one back that is final.
func (r *report) SetStatus(ctx context.Context, s sink.Status) error {
	select {
	case r.setting <- struct{}{}:
		defer func() { <-r.setting }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.final {
		return nil
	}
	err := r.setStatus(ctx, s)
	r.final = err == nil && s.Final()
	return err
}

func (r *report) setStatus(ctx context.Context, s sink.Status) error {
	if err := r.rest.setStatus(ctx, r.build, s); err != nil {
		if !s.Final() && !refused(err) {
			r.status = time.Now()
		}
		return err
	}
	if !s.Final() || r.status.IsZero() {
		return nil
	}
	err := r.settle(ctx, r.status, func() (done, more bool, err error) {
		now, err := r.Status(ctx)
		if err == nil && !now.Final() {
			more = true
			err = r.rest.setStatus(ctx, r.build, s)
		}
		return false, more, err
	})
	if err == nil {
		r.status = time.Time{}
	}
	return err
}

// refused reports whether an error is wharf-api's own word that it has done nothing.
func refused(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err)
}

// Clean reports whether nothing is under way.
func (r *report) Clean() bool {
	over := func(t time.Time) bool { return t.IsZero() || time.Since(t) >= r.sink.opts.Settle }
	return r.stream == nil && !r.unsure && over(r.file) && over(r.status)
}

// Close ends the connections.
func (r *report) Close() error {
	r.cancel()
	var err error
	if r.conn != nil {
		err = r.conn.Close()
	}
	r.rest.client.CloseIdleConnections()
	return errors.Join(err)
}
