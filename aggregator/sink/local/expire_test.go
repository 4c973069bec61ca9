package local_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// ended makes a build with lines and a file that has ended.
func ended(t *testing.T, s *local.Store, id uint64) {
	t.Helper()
	r := s.Open(id, forever)
	write(t, r, 0, 10)
	put(t, r, "a", "text")
	if err := r.SetStatus(t.Context(), sink.Completed); err != nil {
		t.Fatal(err)
	}
}

// Builds that ended long enough ago are removed with all that is theirs, and no others.
func TestExpire(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{})
	ended(t, s, 1)
	ended(t, s, 2)
	running := s.Open(3, forever)
	write(t, running, 0, 10)
	put(t, running, "a", "text")
	if n, err := s.Expire(t.Context()); n != 0 || err != nil {
		t.Errorf("without Keep: %d, %v", n, err)
	}
	hour := open(t, dir, local.Options{Keep: time.Hour})
	if n, err := hour.Expire(t.Context()); n != 0 || err != nil {
		t.Errorf("within the hour: %d, %v", n, err)
	}
	strict, err := local.Open(dir, local.Options{Keep: time.Nanosecond}) // which removes them by itself
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Expire(t.Context()); err != nil {
		t.Error(err)
	}
	if err := strict.Close(); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]int{"/api/build/1": 404, "/api/build/2/log": 404, "/api/build/2/artifact": 404, "/api/build/3": 200} {
		if code, _, _ := get(t, s, path); code != want {
			t.Errorf("%s is %d; want %d", path, code, want)
		}
	}
	if left := files(t, filepath.Join(dir, "artifacts")); len(left) != 1 || filepath.Base(filepath.Dir(left[0])) != "3" {
		t.Errorf("left are %q", left)
	}
	// One that is reported again begins anew.
	write(t, s.Open(1, forever), 0, 2)
	if _, _, body := get(t, s, "/api/build/1/log", "Accept", "text/plain"); body != "line 0\nline 1\n" {
		t.Errorf("its log is %q", body)
	}
}

// Files that a crash has left are removed when they are old, and those of builds are not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{})
	put(t, s.Open(1, forever), "a", "text")
	kept := files(t, filepath.Join(dir, "artifacts"))
	old := time.Now().Add(-48 * time.Hour)
	young := filepath.Join(dir, "artifacts", "1", "young")
	for _, name := range []string{young, filepath.Join(dir, "artifacts", "1", "old"), filepath.Join(dir, "artifacts", "2", "old")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		if name != young {
			if err := os.Chtimes(name, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chtimes(kept[0], old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := files(t, filepath.Join(dir, "artifacts")); len(left) != 2 {
		t.Errorf("left are %q; want %q and %s", left, kept, young)
	}
	if code, _, _ := get(t, s, "/api/build/1/artifact/1"); code != http.StatusOK {
		t.Errorf("the file of the build is %d", code)
	}
}

// Who follows a build that is removed is not left waiting.
func TestExpireFollowed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{Keep: time.Nanosecond})
	ended(t, s, 1)
	if _, err := s.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get(t, s, "/api/build/1/log?follow=true"); code != http.StatusNotFound {
		t.Errorf("it is %d", code)
	}
}
