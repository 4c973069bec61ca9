package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

// Handler serves what is stored, read-only, with the paths and names of wharf-api:
//
//	GET /api/build                     builds, newest first; ?status=Running&status=…&limit=100&offset=0
//	GET /api/build/{id}                one build, with the states that it has had
//	GET /api/build/{id}/log            its lines; ?after=N&limit=M&follow=true; as text with "Accept: text/plain"
//	GET /api/build/{id}/artifact       the list of its files
//	GET /api/build/{id}/artifact/{id}  one of them
//	GET /api/ping
//
// The logId of a line is its number within its build, from 1. With follow, a log goes on until the build has ended: what this process stores comes at once, and what other processes store comes with the next that this one does.
// Errors are application/problem+json (RFC 7807). Nobody is asked who he is: whoever reaches the handler may read everything.
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				problem(w, r, err)
			}
		})
	}
	handle("GET /api/build", s.serveBuilds)
	handle("GET /api/build/{build}", s.serveBuild)
	handle("GET /api/build/{build}/log", s.serveLog)
	handle("GET /api/build/{build}/artifact", s.serveArtifacts)
	handle("GET /api/build/{build}/artifact/{artifact}", s.serveArtifact)
	handle("GET /api/ping", func(w http.ResponseWriter, _ *http.Request) error {
		return answer(w, map[string]string{"message": "pong"})
	})
	handle("/", func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return errMethod
		}
		return errdefs.ErrNotFound.WithMessage("there is nothing at " + r.URL.Path)
	})
	return mux
}

var errMethod = errors.New("this can only be read")

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // who is gone needs no answer
	return nil
}

// problem answers with an error.
func problem(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	switch {
	case errdefs.IsNotFound(err):
		code = http.StatusNotFound
	case errdefs.IsInvalidArgument(err):
		code = http.StatusBadRequest
	case errors.Is(err, errMethod):
		code = http.StatusMethodNotAllowed
	case errdefs.IsUnavailable(err), errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(code), "status": code, "detail": err.Error(), "instance": r.URL.Path})
}

// shown is a build as wharf-api shows it.
type shown struct {
	BuildID     uint64      `json:"buildId"`
	StatusID    int         `json:"statusId"`
	Status      sink.Status `json:"status"`
	ScheduledOn *time.Time  `json:"scheduledOn"`
	StartedOn   *time.Time  `json:"startedOn"`
	FinishedOn  *time.Time  `json:"finishedOn"`
	WorkerID    string      `json:"workerId"`
	IsInvalid   bool        `json:"isInvalid"`
	Lines       uint64      `json:"lines"`
	History     []change    `json:"history,omitempty"`
}

// statuses are the states in the order of wharf-api's numbers.
var statuses = []sink.Status{sink.Scheduling, sink.Running, sink.Completed, sink.Failed}

func show(b *build) shown {
	when := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return shown{
		BuildID: b.ID, StatusID: slices.Index(statuses, b.Status), Status: b.Status, ScheduledOn: when(b.Scheduled), StartedOn: when(b.Started), FinishedOn: when(b.Finished),
		WorkerID: b.Worker, Lines: b.Lines,
	}
}

func (s *Store) serveBuilds(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	all, err := s.builds(r.Context(), q)
	if err != nil {
		return err
	}
	total, err := s.count(r.Context(), q)
	if err != nil {
		return err
	}
	list := []shown{}
	for i := range all {
		list = append(list, show(&all[i]))
	}
	return answer(w, map[string]any{"list": list, "totalCount": total})
}

// mostBuilds is how many builds are listed at once at most.
const mostBuilds = 1000

// parseQuery reads which builds are asked for.
func parseQuery(from url.Values) (q query, err error) {
	for _, text := range from["status"] {
		status := sink.Status(text)
		if !slices.Contains(statuses, status) {
			return q, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("there is no status %q", text))
		}
		if !slices.Contains(q.status, status) {
			q.status = append(q.status, status)
		}
	}
	limit, err := number(from, "limit", 100, mostBuilds)
	if err != nil {
		return q, err
	}
	offset, err := number(from, "offset", 0, math.MaxInt32)
	q.limit, q.offset = int(limit), int(offset)
	return q, err
}

// number reads a parameter that is a number up to most.
func number(from url.Values, name string, absent, most uint64) (uint64, error) {
	if !from.Has(name) {
		return absent, nil
	}
	n, err := strconv.ParseUint(from.Get(name), 10, 64)
	if err != nil || n > most {
		return 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s must be a number from 0 to %d", name, most))
	}
	return n, nil
}

// idOf reads a number of the path.
func idOf(r *http.Request, name string) (uint64, error) {
	id, err := strconv.ParseUint(r.PathValue(name), 10, 63)
	if err != nil || id == 0 {
		return 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the number of the %s must be from 1 to %d", name, int64(math.MaxInt64)))
	}
	return id, nil
}

// buildOf returns the build that is asked for.
func (s *Store) buildOf(r *http.Request) (build, error) {
	id, err := idOf(r, "build")
	if err != nil {
		return build{}, err
	}
	return s.build(r.Context(), id)
}

func (s *Store) serveBuild(w http.ResponseWriter, r *http.Request) error {
	b, err := s.buildOf(r)
	if err != nil {
		return err
	}
	out := show(&b)
	if out.History, err = s.history(r.Context(), b.ID); err != nil {
		return err
	}
	return answer(w, out)
}

func (s *Store) serveArtifacts(w http.ResponseWriter, r *http.Request) error {
	b, err := s.buildOf(r)
	if err != nil {
		return err
	}
	all, err := s.artifacts(r.Context(), b.ID, 0)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for _, a := range all {
		list = append(list, map[string]any{"artifactId": a.id, "buildId": a.build, "name": a.name, "fileName": a.name, "size": a.size, "sha256": a.sha256, "testResults": a.tests})
	}
	return answer(w, map[string]any{"list": list, "totalCount": len(list)})
}

func (s *Store) serveArtifact(w http.ResponseWriter, r *http.Request) error {
	b, err := s.buildOf(r)
	if err != nil {
		return err
	}
	id, err := idOf(r, "artifact")
	if err != nil {
		return err
	}
	all, err := s.artifacts(r.Context(), b.ID, id)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("artifact %d of build %d was not found", id, b.ID))
	}
	file, err := os.Open(filepath.Join(s.directory(b.ID), all[0].file))
	if err != nil {
		return fmt.Errorf("artifact %d of build %d: %w", id, b.ID, err)
	}
	defer file.Close()
	// A build's file is never shown as a page of this server's.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": all[0].name}))
	w.Header().Set("ETag", `"`+all[0].sha256+`"`)
	http.ServeContent(w, r, "", time.Time{}, file)
	return nil
}
