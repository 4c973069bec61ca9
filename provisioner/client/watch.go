package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// Kind says what an [Event] tells.
type Kind string

// The kinds of events.
const (
	// Changed: Worker is as it is now. A worker that is gone has the state Removed.
	Changed Kind = "changed"
	// Synced: every worker that there is has been told, at the beginning and after each Lost.
	Synced Kind = "synced"
	// Lost: the connection broke, for the reason Err; what is known may be old until the next Synced. A new connection is being made.
	Lost Kind = "lost"
)

// Event is what Events yields.
type Event struct {
	Kind   Kind
	Worker provisioner.Worker
	Err    error
}

// Watch yields every worker as it is, and then each that changes, the state of one that is gone being Removed. A connection that breaks is made anew, and what has changed meanwhile is
// told then: the loop sees nothing of it; see [Client.Events] for one that wants to. With states a worker is told while it is in one of them, and once more when it is not any longer.
//
// It goes on until ctx ends, the loop is left, or the provisioner refuses to go on (the token is wrong, say): then the last element has the error. Likewise if the first connection
// cannot be made; a provisioner that answers that it is not ready is waited for.
func (c *Client) Watch(ctx context.Context, states ...provisioner.State) iter.Seq2[provisioner.Worker, error] {
	return func(yield func(provisioner.Worker, error) bool) {
		for e, err := range c.Events(ctx, states...) {
			if err == nil && e.Kind != Changed {
				continue
			}
			if !yield(e.Worker, err) {
				return
			}
		}
	}
}

// Events is [Client.Watch], and tells too when everything has been told, and when the connection is lost.
func (c *Client) Events(ctx context.Context, states ...provisioner.State) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := watcher{c: c, states: states, known: map[string]known{}, yield: func(e Event) bool { return yield(e, nil) }}
		pause := firstPause
		for {
			synced := w.synced
			err := w.follow(ctx)
			if errors.Is(err, errLeft) {
				return
			}
			if cause := context.Cause(ctx); cause != nil {
				yield(Event{}, cause)
				return
			}
			if final(err, w.synced > 0) {
				yield(Event{}, err)
				return
			}
			if w.synced > synced { // it was good for a while
				pause = firstPause
			}
			if !w.yield(Event{Kind: Lost, Err: err}) {
				return
			}
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-ctx.Done():
			}
			pause = min(2*pause, longestPause)
		}
	}
}

// The pauses before a connection is made anew: the first, and the longest that they grow to.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

var (
	errLeft  = errors.New("the loop was left")
	errEnded = errors.New("the provisioner has ended the stream")
)

// final reports whether there is no use in another try. Where nothing was ever reached the address may be wrong.
func final(err error, reached bool) bool {
	var p *provisioner.Problem
	if errors.As(err, &p) {
		return p.Status < 500 && p.Status != http.StatusTooManyRequests
	}
	return !reached
}

// known is what was last told of a worker.
type known struct {
	worker provisioner.Worker
	text   string
	round  int // of which it was told
}

// watcher follows a provisioner over several connections.
type watcher struct {
	c      *Client
	states []provisioner.State
	known  map[string]known
	round  int
	synced int
	yield  func(Event) bool
}

// follow reads one stream to its end.
func (w *watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query := url.Values{"watch": {"true"}}
	for _, s := range w.states {
		query.Add("state", string(s))
	}
	silent := time.AfterFunc(w.c.silence, func() { cancel(fmt.Errorf("nothing came for %v", w.c.silence)) })
	defer silent.Stop()
	res, err := w.c.do(ctx, http.MethodGet, query, nil, "api", "worker")
	if err != nil {
		return because(ctx, err)
	}
	defer res.Body.Close()
	w.round++
	silent.Stop()
	lines := bufio.NewScanner(&bounded{res.Body, silent, w.c.silence}) // who takes an event slowly does not make the stream silent
	lines.Buffer(nil, 4<<20)
	kind := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			kind = value
		case "data":
			if err := w.take(ctx, kind, value); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return because(ctx, err)
	}
	return errEnded
}

// because is the reason why something was cancelled, or its error.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// bounded is a reader of which each read is bounded by a timer.
type bounded struct {
	io.Reader
	timer *time.Timer
	each  time.Duration
}

func (b *bounded) Read(p []byte) (int, error) {
	b.timer.Reset(b.each)
	defer b.timer.Stop()
	return b.Reader.Read(p)
}

// take takes in an event of the stream.
func (w *watcher) take(ctx context.Context, kind, text string) error {
	if kind == "synced" {
		w.synced++
		if err := w.missing(ctx); err != nil {
			return err
		}
		return w.tell(Event{Kind: Synced})
	}
	var worker provisioner.Worker
	if err := json.Unmarshal([]byte(text), &worker); err != nil {
		return fmt.Errorf("the stream is none of a provisioner: %w", err)
	}
	return w.changed(worker, text)
}

// changed tells of a worker, if it is not as it was.
func (w *watcher) changed(worker provisioner.Worker, text string) error {
	before, was := w.known[worker.ID]
	if worker.State == provisioner.Removed || len(w.states) > 0 && !slices.Contains(w.states, worker.State) {
		delete(w.known, worker.ID)
	} else {
		w.known[worker.ID] = known{worker, text, w.round}
	}
	if was && before.text == text {
		return nil
	}
	return w.tell(Event{Kind: Changed, Worker: worker})
}

// missing tells of the workers that the stream before had told of and that this one has not.
func (w *watcher) missing(ctx context.Context) error {
	for id, k := range w.known {
		if k.round == w.round {
			continue
		}
		gone := k.worker
		gone.State, gone.Reason, gone.Position = provisioner.Removed, "it has been removed", 0
		if len(w.states) > 0 { // it may be in another state
			now, err := w.c.Worker(ctx, id)
			var p *provisioner.Problem
			switch {
			case err == nil:
				gone = now
			case !errors.As(err, &p) || p.Status != http.StatusNotFound:
				return because(ctx, err)
			}
		}
		delete(w.known, id)
		if err := w.tell(Event{Kind: Changed, Worker: gone}); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) tell(e Event) error {
	if !w.yield(e) {
		return errLeft
	}
	return nil
}
