package aggregator

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A directory that a killed aggregator has left goes; one that is in use, one that is new, and what is not an aggregator's stay.
func TestSweepScratch(t *testing.T) {
	in, old := t.TempDir(), time.Now().Add(-time.Hour)
	used, err := newScratch(in)
	if err != nil {
		t.Fatal(err)
	}
	left, fresh, other := filepath.Join(in, scratchName+"left"), filepath.Join(in, scratchName+"new"), filepath.Join(in, "other")
	for _, dir := range []string{left, fresh, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(left, "copy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{left, used.Name(), other} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	sweepScratch(in)
	for dir, want := range map[string]bool{left: false, used.Name(): true, fresh: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v", filepath.Base(dir), err == nil)
		}
	}
	used.remove()
	if _, err := os.Stat(used.Name()); err == nil {
		t.Error("one that was removed is there")
	}
}
