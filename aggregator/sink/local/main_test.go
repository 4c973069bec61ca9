package local_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// TestMain is also the program of the processes that tests kill.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// open opens a store, which the end of the test closes.
func open(t testing.TB, dir string, opts local.Options) *local.Store {
	t.Helper()
	s, err := local.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// forever is a turn without end.
var forever = sink.Turn{Fence: func() time.Time { return time.Now().Add(time.Hour) }, Clean: true}

func lines(first, n int) []sink.Line {
	all := make([]sink.Line, n)
	for i := range all {
		all[i] = sink.Line{Time: time.Unix(1_780_000_000, int64(first+i)), Text: fmt.Appendf(nil, "line %d", first+i)}
	}
	return all
}

// write appends and commits lines.
func write(t testing.TB, r sink.Report, at, n int) {
	t.Helper()
	if err := r.Append(t.Context(), uint64(at), lines(at, n)); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// get asks a handler, and returns the answer's status, headers and body.
func get(t testing.TB, s *local.Store, path string, header ...string) (int, http.Header, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	return w.Code, w.Result().Header, string(body)
}

// fetch decodes what a path has.
func fetch[T any](h http.Handler, path string) (v T, err error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		return v, fmt.Errorf("GET %s: %d: %s", path, w.Code, w.Body)
	}
	return v, json.NewDecoder(w.Body).Decode(&v)
}

// logLine, fileList and oneBuild are what the API answers.
type (
	logLine struct {
		LogID, BuildID uint64
		Message        string
		Timestamp      time.Time
	}
	fileList struct {
		List []struct {
			ArtifactID, BuildID uint64
			Name, FileName      string
			Size                int64
			TestResults         bool
		}
		TotalCount int
	}
	oneBuild struct {
		BuildID                            uint64
		StatusID                           int
		Status                             sink.Status
		ScheduledOn, StartedOn, FinishedOn *time.Time
		WorkerID                           string
		Lines                              uint64
		History                            []struct {
			Status sink.Status
			Time   time.Time
		}
	}
	buildList struct {
		List       []oneBuild
		TotalCount int
	}
)
