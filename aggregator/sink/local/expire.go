package local

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// How often old builds are looked for, and how old a file must be that the database does not name: younger ones may be under way.
const (
	expireEvery = time.Hour
	orphanAge   = 24 * time.Hour
)

// expireOften removes old builds until Close.
func (s *Store) expireOften() {
	again := time.NewTicker(expireEvery)
	defer again.Stop()
	for {
		n, err := s.Expire(s.ctx)
		if n > 0 {
			s.opts.Log.Info("removed old builds", "builds", n)
		}
		if err != nil && s.ctx.Err() == nil {
			s.opts.Log.Warn("old builds could not be removed", "error", err)
		}
		select {
		case <-again.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// Expire removes the builds that ended longer ago than Options.Keep, with their files, and what crashes have left of files that were never whole. It returns how many builds it has removed, also with an
// error. The database does not become smaller, but uses the room again. With Options.Keep 0 no build is removed.
func (s *Store) Expire(ctx context.Context) (removed int, err error) {
	if s.opts.Keep > 0 {
		before := time.Now().Add(-s.opts.Keep).UnixNano()
		for {
			id, found, err := s.removeOne(ctx, before)
			if err != nil {
				return removed, err
			}
			if !found {
				break
			}
			removed++
			s.watch.changed(id)
		}
	}
	return removed, s.sweep(ctx)
}

// removeOne removes one build that ended before a time: one at a time, so that others can write between.
func (s *Store) removeOne(ctx context.Context, before int64) (id uint64, found bool, err error) {
	var files []string
	err = s.write(ctx, false, nil, func(ctx context.Context, tx *sql.Tx) error {
		var row int64
		err := tx.QueryRowContext(ctx, "SELECT id FROM build WHERE finished < ? ORDER BY finished LIMIT 1", before).Scan(&row)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		id, found = uint64(row), true
		rows, err := tx.QueryContext(ctx, "DELETE FROM artifact WHERE build = ? RETURNING file", row)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var file string
			if err := rows.Scan(&file); err != nil {
				return err
			}
			files = append(files, file)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, of := range []string{"block WHERE build", "history WHERE build", "build WHERE id"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+of+" = ?", row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !found {
		return 0, false, err
	}
	for _, f := range files {
		_ = os.Remove(filepath.Join(s.directory(id), f)) // else it is swept
	}
	_ = os.Remove(s.directory(id)) // if it is empty
	return id, true, nil
}

// sweep removes files that the database does not name.
func (s *Store) sweep(ctx context.Context) error {
	root := filepath.Join(s.dir, artifactsDir)
	dirs, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		build, err := strconv.ParseUint(d.Name(), 10, 64)
		if err != nil || !d.IsDir() {
			continue
		}
		if err := s.sweepBuild(ctx, build); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) sweepBuild(ctx context.Context, build uint64) error {
	files, err := os.ReadDir(s.directory(build))
	if err != nil {
		return err
	}
	old := map[string]bool{}
	for _, f := range files {
		if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > orphanAge {
			old[f.Name()] = true
		}
	}
	if len(old) > 0 {
		named, err := s.artifacts(ctx, build, 0)
		if err != nil {
			return err
		}
		for _, a := range named {
			delete(old, a.file)
		}
	}
	for name := range old {
		_ = os.Remove(filepath.Join(s.directory(build), name))
	}
	_ = os.Remove(s.directory(build)) // if it is empty
	return nil
}
