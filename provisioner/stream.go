package provisioner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/wharfci/wharf/provisioner/origin"
)

// Synced is the data of the event "synced" of a stream: every worker that there was has been told.
type Synced struct {
	Total int `json:"totalCount"`
}

// stream sends workers as server-sent events (WHATWG HTML): "worker" with each as it is, "synced" when all have been told, then "worker" with each that changes and "removed" with
// one that is gone. Events have no id, since a client that comes again is told everything again, up to the next "synced".
func (a *api) stream(w http.ResponseWriter, r *http.Request, wanted map[State]bool) {
	client := origin.Of(a.client(r))
	if !a.streams.enter(client) {
		refuse(w, r, errTooManyStreams)
		return
	}
	defer a.streams.leave(client)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &stream{w: w, out: http.NewResponseController(w), provisioner: a.p.ctx, patience: a.gate.Heartbeat}
	defer context.AfterFunc(a.p.ctx, s.hurry)()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies that would keep back what there is
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead || !s.send("retry: 3000\n: workers follow\n\n") {
		return
	}
	news := make(chan event)
	go a.p.tell(ctx, wanted, news)
	beat := time.NewTicker(a.gate.Heartbeat)
	defer beat.Stop()
	for {
		text := ": still here\n\n"
		select {
		case e, more := <-news:
			data, err := json.Marshal(e.data)
			if !more || err != nil {
				return
			}
			text = fmt.Sprintf("event: %s\ndata: %s\n\n", e.kind, data)
		case <-beat.C:
		}
		if !s.send(text) {
			return
		}
	}
}

// stream is an answer that goes on.
type stream struct {
	w           http.ResponseWriter
	out         *http.ResponseController
	provisioner context.Context
	patience    time.Duration
}

// send reports whether the client has taken the text before the patience was over.
func (s *stream) send(text string) bool {
	_ = s.out.SetWriteDeadline(time.Now().Add(s.patience)) // not every writer has one
	if s.provisioner.Err() != nil {
		return false
	}
	_, err := s.w.Write([]byte(text))
	return err == nil && s.out.Flush() == nil
}

// hurry ends soon what is being sent: the provisioner shuts down.
func (s *stream) hurry() { _ = s.out.SetWriteDeadline(time.Now().Add(time.Second)) }

// event is one of a stream.
type event struct {
	kind string
	data any
}

// tell sends the events of a stream until ctx or the provisioner ends. With states that are wanted a worker is told while it is in one of them, and once more when it is not any longer.
func (p *Provisioner) tell(ctx context.Context, wanted map[State]bool, to chan<- event) {
	defer close(to)
	send := func(e event) bool {
		select {
		case to <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	shown := map[string]bool{}
	synced := func() bool { return send(event{"synced", Synced{len(shown)}}) }
	for w := range p.watched(ctx, synced) {
		was := shown[w.ID]
		if w.State == Removed || len(wanted) > 0 && !wanted[w.State] {
			delete(shown, w.ID)
			if !was {
				continue
			}
		} else {
			shown[w.ID] = true
		}
		kind := "worker"
		if w.State == Removed {
			kind = "removed"
		}
		if !send(event{kind, w}) {
			return
		}
	}
}
