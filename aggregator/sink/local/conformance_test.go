package local_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
	"github.com/wharfci/wharf/aggregator/sink/sinktest"
)

// The sink keeps the contract; what it has stored is read through its API.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{})
	h := s.Handler()
	sinktest.Run(t, sinktest.Config{
		Open: func() (sink.Sink, error) { return local.Open(dir, local.Options{}) },
		Add: func(id uint64) {
			if err := s.Add(t.Context(), sink.Build{ID: id}); err != nil {
				t.Error(err)
			}
		},
		Read:        func(id uint64) (sinktest.Build, error) { return read(h, id) },
		MakesBuilds: true,
		KeepsFinal:  true,
		Stall:       func() func() { return stall(t, dir) },
	})
}

// stall has another connection hold the lock of writers.
func stall(t *testing.T, dir string) (resume func()) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "wharf.db")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	}
}

// read reads a build through the API.
func read(h http.Handler, id uint64) (out sinktest.Build, err error) {
	base := fmt.Sprintf("/api/build/%d", id)
	b, err := fetch[oneBuild](h, base)
	if err != nil {
		return out, err
	}
	out.Status = b.Status
	for _, c := range b.History {
		out.History = append(out.History, c.Status)
	}
	log, err := fetch[[]logLine](h, base+"/log")
	if err != nil {
		return out, err
	}
	if uint64(len(log)) != b.Lines {
		return out, fmt.Errorf("build %d is said to have %d lines, and has %d", id, b.Lines, len(log))
	}
	for i, l := range log {
		if l.LogID != uint64(i)+1 || l.BuildID != id {
			return out, fmt.Errorf("line %d of build %d says that it is %d of %d", i+1, id, l.LogID, l.BuildID)
		}
		out.Lines = append(out.Lines, sink.Line{Time: l.Timestamp, Text: []byte(l.Message)})
	}
	files, err := fetch[fileList](h, base+"/artifact")
	if err != nil {
		return out, err
	}
	for _, f := range files.List {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, fmt.Sprintf("%s/artifact/%d", base, f.ArtifactID), nil))
		if w.Code != http.StatusOK {
			return out, fmt.Errorf("artifact %d: %d: %s", f.ArtifactID, w.Code, w.Body)
		}
		out.Files = append(out.Files, sinktest.File{Name: f.FileName, Content: w.Body.Bytes()})
	}
	return out, nil
}
