package local_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

func artifact(name, content string) sink.Artifact {
	return sink.Artifact{Name: name, Size: int64(len(content)), SHA256: "?", Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func put(t testing.TB, r sink.Report, name, content string) {
	t.Helper()
	if err := r.PutArtifact(t.Context(), artifact(name, content)); err != nil {
		t.Fatal(err)
	}
}

// files are the files in a directory, with their paths.
func files(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A writer whose turn is not over by its own clock, though another has written, stores nothing.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	one, other := open(t, dir, local.Options{}), open(t, dir, local.Options{})
	stale := one.Open(1, forever)
	if err := stale.Append(t.Context(), 0, lines(0, 5)); err != nil {
		t.Fatal(err)
	}
	write(t, other.Open(1, forever), 0, 3)
	if err := stale.Commit(t.Context()); err == nil {
		t.Error("a Commit of lines that are stored already returns nil")
	}
	n, err := stale.Lines(t.Context())
	if err != nil || n != 3 {
		t.Fatalf("there are %d lines: %v", n, err)
	}
	write(t, stale, 3, 2)
	if _, _, body := get(t, one, "/api/build/1/log", "Accept", "text/plain"); body != "line 0\nline 1\nline 2\nline 3\nline 4\n" {
		t.Errorf("the log is %q", body)
	}
}

// Lines that wait for a Commit are stored when they are many.
func TestAppendMuch(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	r := s.Open(1, forever)
	large := bytes.Repeat([]byte("x"), sink.MaxLine)
	if err := r.Append(t.Context(), 0, []sink.Line{{Text: large}, {Text: large}, {Text: large}}); err != nil {
		t.Fatal(err)
	}
	b, err := fetch[oneBuild](s.Handler(), "/api/build/1")
	if err != nil || b.Lines != 2 {
		t.Errorf("%d lines are stored before the Commit, %v; want 2", b.Lines, err)
	}
	if err := r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := fetch[oneBuild](s.Handler(), "/api/build/1"); err != nil || b.Lines != 3 {
		t.Errorf("%d lines are stored after it, %v; want 3", b.Lines, err)
	}
}

func TestAdd(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	when := time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)
	for _, b := range []sink.Build{{ID: 7, Worker: "w", Scheduled: when}, {ID: 7}} { // the second changes nothing
		if err := s.Add(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Active(t.Context())
	if err != nil || len(all) != 1 || all[0] != (sink.Build{ID: 7, Status: sink.Scheduling, Scheduled: when, Worker: "w"}) {
		t.Errorf("active are %+v, %v", all, err)
	}
}

// What cannot be stored, now or later, is InvalidArgument.
func TestInvalid(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	ctx := t.Context()
	for _, id := range []uint64{0, math.MaxInt64 + 1, math.MaxUint64} {
		if err := s.Open(id, forever).SetStatus(ctx, sink.Running); !errdefs.IsInvalidArgument(err) {
			t.Errorf("build %d: %v", id, err)
		}
	}
	r := s.Open(math.MaxInt64, forever)
	for _, status := range []sink.Status{sink.Ended, "", "running"} {
		if err := r.SetStatus(ctx, status); !errdefs.IsInvalidArgument(err) {
			t.Errorf("status %q: %v", status, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "a\x00", "\xff"} {
		if err := r.PutArtifact(ctx, artifact(name, "x")); !errdefs.IsInvalidArgument(err) {
			t.Errorf("artifact %q: %v", name, err)
		}
	}
}

// A file that does not have the sum that it is said to have is not stored, and nothing of it is left; nor of one that was put when the turn was over.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{})
	a := artifact("a", "text")
	a.SHA256 = strings.Repeat("0", 64)
	if err := s.Open(1, forever).PutArtifact(t.Context(), a); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("another sum: %v", err)
	}
	over := false
	late := artifact("b", "text")
	late.Open = func(context.Context) (io.ReadCloser, error) {
		over = true
		return io.NopCloser(strings.NewReader("text")), nil
	}
	turn := sink.Turn{Fence: func() time.Time {
		if over {
			return time.Time{}
		}
		return time.Now().Add(time.Hour)
	}}
	if err := s.Open(1, turn).PutArtifact(t.Context(), late); err == nil {
		t.Error("a file is put after the end of the turn")
	}
	if left := files(t, filepath.Join(dir, "artifacts")); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// A database of a later version is not touched.
func TestNewer(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir, local.Options{}).Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "wharf.db"))
	if err == nil {
		_, err = db.Exec("PRAGMA user_version = 99")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(dir, local.Options{}); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("Open: %v", err)
	}
}

// Others cannot read what is stored, also where they can read the directory.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, local.Options{})
	r := s.Open(1, forever)
	write(t, r, 0, 1)
	put(t, r, "a", "text")
	for _, name := range files(t, dir) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(name, "-shm") { // which has nothing of it
			t.Errorf("%s is %s", name, info.Mode())
		}
	}
}

// Many may open a directory at once that is not there.
func TestOpenAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "100% #1 ?")
	opened := make(chan error)
	for range 8 {
		go func() {
			s, err := local.Open(dir, local.Options{})
			if err == nil {
				err = errors.Join(s.Ready(context.Background()), s.Close())
			}
			opened <- err
		}()
	}
	for range 8 {
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "wharf.db")); err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := local.Open(t.TempDir(), local.Options{Keep: -1}); err == nil {
		t.Error("a negative Keep is taken")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(file, local.Options{}); err == nil {
		t.Error("a file is taken for a directory")
	}
}
