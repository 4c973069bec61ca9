// Package builds keeps the results of earlier builds in order: where they are, and which may go.
package builds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wharfci/wharf/worker/lease"
)

// Keep is how many builds of a project are kept.
const Keep = 20

// projectFile holds, in a project's index, the directory that the project is built from.
const projectFile = ".path"

// Store is a directory of results: builds/<id> has a build's, projects/<project>/<id> says whose it is. It may be used by
// several processes at once.
type Store struct {
	dir    string
	leases *lease.Dir
}

// Open opens the user's store, and makes it if need be.
func Open() (*Store, error) {
	leases, err := lease.Open("")
	if err != nil {
		return nil, err
	}
	dir, err := lease.DefaultDir()
	if err != nil {
		return nil, err
	}
	return &Store{dir, leases}, nil
}

// Add returns the directory for the results of a new build of the project in a directory; it does not exist yet. It is kept at
// least until the build gives back its lease, which is held from before there is anything to remove.
func (s *Store) Add(held *lease.Lease, project string) (string, error) {
	id := held.Build()
	index := s.index(project)
	err := os.MkdirAll(index, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(index, projectFile), []byte(project), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(index, id), nil, 0o600)
	}
	if err == nil {
		err = os.MkdirAll(filepath.Join(s.dir, "builds"), 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("results directory: %w", err)
	}
	return filepath.Join(s.dir, "builds", id), nil
}

func (s *Store) index(project string) string {
	sum := sha256.Sum256([]byte(project))
	return filepath.Join(s.dir, "projects", hex.EncodeToString(sum[:8]))
}

// Prune removes the results of old builds of a project, all but the last [Keep] and those that are still running, and
// returns the directories that it removed.
func (s *Store) Prune(ctx context.Context, project string) ([]string, error) {
	return s.prune(ctx, s.index(project), Keep, false)
}

// PruneAll removes old builds of every project, and all builds of projects whose directory is gone. With dryRun it only says
// what it would remove.
func (s *Store) PruneAll(ctx context.Context, dryRun bool) ([]string, error) {
	projects, err := os.ReadDir(filepath.Join(s.dir, "projects"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("results: %w", err)
	}
	var removed []string
	var errs []error
	for _, p := range projects {
		index, keep := filepath.Join(s.dir, "projects", p.Name()), Keep
		if path, err := os.ReadFile(filepath.Join(index, projectFile)); err == nil {
			if _, err := os.Stat(string(path)); errors.Is(err, fs.ErrNotExist) {
				keep = 0
			}
		}
		gone, err := s.prune(ctx, index, keep, dryRun)
		removed, errs = append(removed, gone...), append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// prune removes all but the last builds of an index. IDs sort by age.
func (s *Store) prune(ctx context.Context, index string, keep int, dryRun bool) ([]string, error) {
	entries, err := os.ReadDir(index) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("results: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			ids = append(ids, e.Name())
		}
	}
	var removed []string
	for _, id := range ids[:max(0, len(ids)-keep)] {
		if ctx.Err() != nil {
			break
		}
		if held, err := s.leases.Held(id); held || err != nil {
			continue
		}
		dir := filepath.Join(s.dir, "builds", id)
		if !dryRun {
			// The index last: should this end in between, the next call finds the rest.
			if err := errors.Join(os.RemoveAll(dir), os.Remove(filepath.Join(index, id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return removed, fmt.Errorf("results: %w", err)
			}
		}
		removed = append(removed, dir)
	}
	return removed, nil
}

// Build is a build whose results are kept.
type Build struct {
	ID, Dir string
	// Project is the directory that it was built from.
	Project string
}

// All returns the builds of every project, oldest first.
func (s *Store) All() ([]Build, error) {
	projects, err := os.ReadDir(filepath.Join(s.dir, "projects"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("results: %w", err)
	}
	var all []Build
	for _, p := range projects {
		index := filepath.Join(s.dir, "projects", p.Name())
		path, err := os.ReadFile(filepath.Join(index, projectFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("results: %w", err)
		}
		of, err := s.of(index, string(path))
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	slices.SortFunc(all, func(a, b Build) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// Of returns the builds of the project in a directory, oldest first.
func (s *Store) Of(project string) ([]Build, error) { return s.of(s.index(project), project) }

func (s *Store) of(index, project string) ([]Build, error) {
	entries, err := os.ReadDir(index) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("results: %w", err)
	}
	var all []Build
	for _, e := range entries {
		if dir := filepath.Join(s.dir, "builds", e.Name()); !strings.HasPrefix(e.Name(), ".") {
			if _, err := os.Stat(dir); err == nil {
				all = append(all, Build{ID: e.Name(), Dir: dir, Project: project})
			}
		}
	}
	return all, nil
}

// Find returns the results directory of the build whose ID is, or begins with, id.
func (s *Store) Find(id string) (string, error) {
	all, err := s.All()
	if err != nil {
		return "", err
	}
	var found []Build
	for _, b := range all {
		if b.ID == id {
			return b.Dir, nil
		}
		if strings.HasPrefix(b.ID, id) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no build %q, nor a directory or a worker's address of that name; \"wharf ps --all\" lists what is kept", id)
	case 1:
		return found[0].Dir, nil
	}
	return "", fmt.Errorf("%q could be %d builds, such as %s and %s", id, len(found), found[0].ID, found[1].ID)
}
