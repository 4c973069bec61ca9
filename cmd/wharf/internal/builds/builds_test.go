package builds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) *Store {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *Store, project string, n int) (dirs []string) {
	t.Helper()
	for i := range n {
		held, err := s.leases.Take(fmt.Sprintf("b%03d", i))
		if err != nil {
			t.Fatal(err)
		}
		dir, err := s.Add(held, project)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Join(dir, "steps"), 0o700), held.Release())
		}
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func left(t *testing.T, dirs []string) (n int) {
	t.Helper()
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			n++
		}
	}
	return n
}

func TestPruneKeepsTheLastAndTheLiving(t *testing.T) {
	s, project := open(t), t.TempDir()
	dirs := add(t, s, project, Keep+5)
	held, err := s.leases.Take("b001")
	if err != nil {
		t.Fatal(err)
	}
	removed, err := s.Prune(context.Background(), project)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dirs[0], dirs[2], dirs[3], dirs[4]}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if n := left(t, dirs); n != Keep+1 {
		t.Errorf("%d builds are left, want %d", n, Keep+1)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Prune(context.Background(), project); err != nil || len(removed) != 1 {
		t.Errorf("once it has ended: removed %v, %v", removed, err)
	}
}

func TestPruneAllTakesProjectsThatAreGone(t *testing.T) {
	s := open(t)
	project := filepath.Join(t.TempDir(), "gone")
	dirs := add(t, s, project, 3)
	if removed, err := s.PruneAll(context.Background(), true); err != nil || len(removed) != 3 || left(t, dirs) != 3 {
		t.Errorf("dry run: %v, %v, %d left", removed, err, left(t, dirs))
	}
	if removed, err := s.PruneAll(context.Background(), false); err != nil || len(removed) != 3 || left(t, dirs) != 0 {
		t.Errorf("removed %v, %v, %d left", removed, err, left(t, dirs))
	}
}

// A build that was overtaken by many others before it has made anything is as safe as any that runs.
func TestPruneSparesWhatHasJustBegun(t *testing.T) {
	s, project := open(t), filepath.Join(t.TempDir(), "gone")
	held, err := s.leases.Take("a")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Add(held, project)
	if err != nil {
		t.Fatal(err)
	}
	others := add(t, s, project, Keep+1)
	if removed, err := s.PruneAll(context.Background(), false); err != nil || !cmp.Equal(removed, others) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if err := held.Leave(); err != nil {
		t.Fatal(err)
	}
	if removed, err := s.PruneAll(context.Background(), false); err != nil || !cmp.Equal(removed, []string{dir}) {
		t.Errorf("when it has ended: removed %v, %v", removed, err)
	}
}
