//go:build unix

package target_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// follower collects what a target tells, and can wait for something in it.
type follower struct {
	told chan string
	err  chan error
}

func follow(t *testing.T, found *target.Target, opts client.ReadOptions) *follower {
	f := &follower{make(chan string, 100), make(chan error, 1)}
	opts.Follow = true
	go func() {
		var last error
		for e, err := range found.Events(t.Context(), opts) {
			if last = err; err == nil {
				f.told <- string(e.State) + e.Reason
			}
		}
		close(f.told)
		f.err <- last
	}()
	return f
}

func (f *follower) want(t *testing.T, words ...string) {
	t.Helper()
	for _, want := range words {
		if got := <-f.told; got != want {
			t.Fatalf("%q was told, want %q", got, want)
		}
	}
}

// Who follows a build goes on when its process ends and another serves it.
func TestFollowGoesOn(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(map[bool]string{false: "directory", true: "address"}[remote], func(t *testing.T) {
			t.Parallel()
			b := newBuild(t, t.TempDir())
			first := *b // knows the directory by another name, so that it cannot take away what the second leaves there
			first.dir = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(b.dir, first.dir); err != nil {
				t.Fatal(err)
			}
			s := first.serve(t, "127.0.0.1:0")
			name, listens := b.dir, ""
			if remote {
				name, listens = s.Listens, s.Listens
			}
			found := open(t, name)
			if _, err := found.Build(t.Context()); err != nil {
				t.Fatal(err)
			}
			f := follow(t, found, client.ReadOptions{})
			b.warn("one", "two")
			f.want(t, "running", "one", "two")
			if err := os.Remove(first.dir); err != nil {
				t.Fatal(err)
			}
			if remote { // the address is free only then
				s.Close()
			}
			second := b.serve(t, listens)
			defer second.Close()
			if !remote {
				s.Close()
			}
			b.warn("three")
			b.end()
			f.want(t, "three", "succeeded")
			if err := <-f.err; err != nil {
				t.Error(err)
			}
		})
	}
}

// The files have the rest of what a process has not sent, and say whether that is all.
func TestFollowToTheEndOfFiles(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{true, false} {
		b := newBuild(t, t.TempDir())
		s := b.serve(t, "")
		f := follow(t, open(t, b.dir), client.ReadOptions{Step: "s"})
		b.warn("one")
		f.want(t, "one")
		b.writer.Append(journal.Event{Kind: journal.KindWarning, Reason: "of no step"})
		if ends {
			b.end()
		}
		s.Close()
		for e := range f.told {
			t.Errorf("%q was told", e)
		}
		if err := <-f.err; ends != (err == nil) || !ends && !errors.Is(err, target.ErrBrokenOff) {
			t.Errorf("it ends: %v; %v", ends, err)
		}
	}
}

// Files are read from any entry on, of any step, and until the reader is interrupted.
func TestReadFiles(t *testing.T) {
	b := newBuild(t, t.TempDir())
	b.warn("one", "two")
	b.writer.Append(journal.Event{Kind: journal.KindWarning, Reason: "three"})
	b.end()
	found := open(t, b.dir)
	var got []string
	for e, err := range found.Events(t.Context(), client.ReadOptions{After: 2, Step: "s"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Reason)
	}
	if diff := cmp.Diff([]string{"two"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range found.Events(ctx, client.ReadOptions{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	}
}
