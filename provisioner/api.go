package provisioner

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wharfci/wharf/provisioner/origin"
)

// OpenAPI is the description of the API, in YAML, by OpenAPI 3.0. The service has it at /api/openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte

// api serves a provisioner.
type api struct {
	p       *Provisioner
	gate    Gate
	digests digests
	meter   *meter
	streams tally
	log     hclog.Logger
	audit   hclog.Logger
}

// Handler serves the provisioner's HTTP API: see [OpenAPI].
func (p *Provisioner) Handler(gate Gate) http.Handler {
	gate.Streams, gate.Heartbeat = cmp.Or(gate.Streams, 20), cmp.Or(gate.Heartbeat, 15*time.Second)
	a := &api{
		p: p, gate: gate, digests: gate.digests(), meter: newMeter(gate.Rate), streams: tally{most: gate.Streams, of: map[string]int{}}, log: p.log, audit: p.log.Named("audit"),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/worker", a.trigger)
	mux.HandleFunc("POST /generic-webhook-trigger/invoke", a.trigger) // where Jenkins has it
	mux.HandleFunc("GET /api/worker", a.known(a.list))
	mux.HandleFunc("GET /api/worker/{id}", a.known(a.get))
	mux.HandleFunc("DELETE /api/worker/{id}", a.known(a.remove))
	mux.HandleFunc("POST /api/prune", a.known(a.prune))
	mux.HandleFunc("GET /api/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(OpenAPI)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.fleet.count.registry, promhttp.HandlerOpts{}))
	return a.guard(mux)
}

var errNotLoaded = &Problem{Type: problemType + "not-ready", Title: "The provisioner is not ready", Status: http.StatusServiceUnavailable,
	Detail: "the container runtime has not said yet which workers there are"}

// guard bounds what a client can do, and answers what no pattern matches.
func (a *api) guard(mux *http.ServeMux) http.Handler {
	browsers := http.NewCrossOriginProtection() // a page in somebody's browser shall trigger nothing
	return http.HandlerFunc(func(server http.ResponseWriter, r *http.Request) {
		w := &timely{ResponseWriter: server}
		if err := browsers.Check(r); err != nil {
			refuse(w, r, &Problem{Type: problemType + "cross-origin", Title: "A page of another origin may not do this", Status: http.StatusForbidden, Detail: err.Error()})
			return
		}
		if a.gate.Open && !origin.OfThisMachine(r.Host) { // a page whose name leads here, for a time, is of the same origin
			refuse(w, r, &Problem{Type: problemType + "misdirected", Title: "This is not the machine that was asked for", Status: http.StatusMisdirectedRequest,
				Detail: fmt.Sprintf("without tokens only localhost is served, and not %q", shortened(r.Host))})
			return
		}
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz" // a busy neighbour shall not have the service taken for dead
		if !probe && !a.meter.allows(origin.Of(a.client(r)), time.Now()) {
			refuse(w, r, errTooFast)
			return
		}
		r.Body = http.MaxBytesReader(server, r.Body, maxBody)
		_, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		plain := &plainAnswer{header: http.Header{}}
		mux.ServeHTTP(plain, r) // which says whether there would be another method
		p := &Problem{Type: problemType + "not-found", Title: "There is nothing here", Status: http.StatusNotFound, Detail: "the API is described at /api/openapi.yaml"}
		if plain.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", plain.header.Get("Allow"))
			p = &Problem{Type: problemType + "method-not-allowed", Title: "This cannot be done here", Status: plain.status, Detail: "allowed are " + plain.header.Get("Allow")}
		}
		refuse(w, r, p)
	})
}

// plainAnswer takes an answer whose words nobody wants.
type plainAnswer struct {
	header http.Header
	status int
}

func (p *plainAnswer) Header() http.Header         { return p.header }
func (p *plainAnswer) Write(b []byte) (int, error) { return len(b), nil }
func (p *plainAnswer) WriteHeader(status int)      { p.status = status }

// known lets in who shows a token.
func (a *api) known(handle func(w http.ResponseWriter, r *http.Request, who string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := a.authenticate(r, "")
		if err != nil {
			a.note(r, who, r.Method, r.PathValue("id"), err)
			refuse(w, r, problemOf(err))
			return
		}
		if !a.p.fleet.isLoaded() {
			refuse(w, r, errNotLoaded)
			return
		}
		defer unhurried(w)()
		handle(w, r, who)
	}
}

// unhurried takes away the time that a request has to arrive: to the server its connection is dead when that is over, also while the request is being answered.
// The function that it returns gives what has not been read some time again.
func unhurried(w http.ResponseWriter) func() {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // not every writer has one
	return func() { _ = c.SetReadDeadline(time.Now().Add(writeTime)) }
}

// writeTime is how long a client may take for an answer, once there is one.
const writeTime = time.Minute

// timely is a writer of an answer that has to be taken in time.
type timely struct {
	http.ResponseWriter
	begun bool
}

func (t *timely) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *timely) begin() {
	if !t.begun {
		t.begun = true
		_ = http.NewResponseController(t.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTime)) // not every writer has one
	}
}

func (t *timely) WriteHeader(status int) {
	t.begin()
	t.ResponseWriter.WriteHeader(status)
}

func (t *timely) Write(b []byte) (int, error) {
	t.begin()
	return t.ResponseWriter.Write(b)
}

// note writes who did what into the audit log.
func (a *api) note(r *http.Request, who, what, worker string, err error, more ...any) {
	args := append([]any{"who", who, "address", a.client(r), "worker", worker}, more...)
	if err != nil {
		a.audit.Warn(what+" was refused", append(args, "error", err)...)
		return
	}
	a.audit.Info(what, args...)
}

// trigger asks for a build. A token in the body is looked for only if there is none elsewhere; who shows a wrong one is refused before his body is read.
func (a *api) trigger(w http.ResponseWriter, r *http.Request) {
	var all map[string]string
	var err error
	who, denied := a.authenticate(r, "")
	if denied == nil || errors.Is(denied, errNoToken) {
		all, err = parameters(r)
	}
	if errors.Is(denied, errNoToken) {
		who, denied = a.authenticate(r, all[tokenParameter])
	}
	result := func(what string) { a.p.fleet.count.triggers.WithLabelValues(what).Inc() }
	if denied != nil { // before anything is said of the parameters
		a.note(r, who, "trigger", "", denied)
		result(strings.TrimPrefix(problemOf(denied).Type, problemType))
		refuse(w, r, problemOf(denied))
		return
	}
	defer unhurried(w)()
	var t Trigger
	if err == nil {
		t, err = ParseTrigger(all, a.p.cfg.Policy)
	}
	if err != nil {
		result(strings.TrimPrefix(problemOf(err).Type, problemType))
		a.note(r, who, "trigger", "", err)
		refuse(w, r, problemOf(err))
		return
	}
	worker, made, err := a.p.Trigger(r.Context(), t)
	if err != nil {
		result(strings.TrimPrefix(problemOf(err).Type, problemType))
		a.note(r, who, "trigger", workerID(t.Instance, t.Build), err)
		refuse(w, r, problemOf(err))
		return
	}
	a.note(r, who, "trigger", worker.ID, nil, "made", made, "url", t.URL.String(), "branch", t.Branch)
	status, what := http.StatusOK, "repeated"
	if made {
		what = "made"
		status = http.StatusCreated
		w.Header().Set("Location", "/api/worker/"+worker.ID)
	}
	result(what)
	answer(w, status, worker)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// List is what GET /api/worker answers.
type List struct {
	Workers []Worker `json:"list"`
	Total   int      `json:"totalCount"`
}

func (a *api) list(w http.ResponseWriter, r *http.Request, _ string) {
	q := r.URL.Query()
	wanted := map[State]bool{}
	for _, s := range q["state"] {
		if order[State(s)] == 0 || State(s) == Removed {
			refuse(w, r, problemOf(&ParameterError{"state", "must be one of queued, preparing, cloning, running, succeeded, failed, cancelled, lost"}))
			return
		}
		wanted[State(s)] = true
	}
	switch q.Get("watch") {
	case "true":
		a.stream(w, r, wanted)
		return
	case "", "false":
	default:
		refuse(w, r, problemOf(&ParameterError{"watch", "must be true or false"}))
		return
	}
	l := List{Workers: []Worker{}}
	for _, worker := range a.p.Workers() {
		if len(wanted) == 0 || wanted[worker.State] {
			l.Workers = append(l.Workers, worker)
		}
	}
	l.Total = len(l.Workers)
	answer(w, http.StatusOK, l)
}

func (a *api) get(w http.ResponseWriter, r *http.Request, _ string) {
	worker, err := a.p.Worker(r.PathValue("id"))
	if err != nil {
		refuse(w, r, problemOf(err))
		return
	}
	answer(w, http.StatusOK, worker)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, who string) {
	id := r.PathValue("id")
	err := a.p.Delete(r.Context(), id)
	a.note(r, who, "delete", id, err)
	if err != nil {
		refuse(w, r, problemOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Pruned is what POST /api/prune answers.
type Pruned struct {
	// Removed are the IDs of the workers that are gone.
	Removed []string `json:"removed"`
	// Failed says of each that could not be removed why. It is empty if none was removed at all: that is a problem.
	Failed []string `json:"failed,omitempty"`
}

func (a *api) prune(w http.ResponseWriter, r *http.Request, who string) {
	var longer time.Duration
	if text := r.URL.Query().Get("olderThan"); text != "" {
		var err error
		if longer, err = time.ParseDuration(text); err != nil || longer < 0 {
			refuse(w, r, problemOf(&ParameterError{"olderThan", "must be a duration, such as 24h or 90m"}))
			return
		}
	}
	removed, err := a.p.Prune(r.Context(), longer)
	if err != nil && len(removed) == 0 {
		a.note(r, who, "prune", "", err)
		refuse(w, r, problemOf(err))
		return
	}
	done := Pruned{Removed: append([]string{}, removed...)}
	more := []any{"removed", removed}
	if err != nil {
		done.Failed = each(err)
		more = append(more, "error", err)
	}
	a.note(r, who, "prune", "", nil, more...)
	answer(w, http.StatusOK, done)
}

func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	if err := a.p.Ready(r.Context()); err != nil {
		refuse(w, r, &Problem{Type: problemType + "not-ready", Title: "The provisioner is not ready", Status: http.StatusServiceUnavailable, Detail: err.Error()})
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
