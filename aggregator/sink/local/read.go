package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

// build is a build as it is stored.
type build struct {
	sink.Build
	Started, Finished time.Time
	Lines             uint64
}

// query selects builds.
type query struct {
	id            uint64 // 0 is all
	status        []sink.Status
	limit, offset int // a negative limit is none
}

func (q *query) where() (text string, args []any) {
	if q.id != 0 {
		return " WHERE id = ?", []any{int64(q.id)}
	}
	if len(q.status) == 0 {
		return "", nil
	}
	for _, s := range q.status {
		args = append(args, string(s))
	}
	return " WHERE status IN (?" + strings.Repeat(", ?", len(args)-1) + ")", args
}

// builds returns the builds that q selects, newest first.
func (s *Store) builds(ctx context.Context, q query) (all []build, err error) {
	where, args := q.where()
	rows, err := s.readers.QueryContext(ctx, "SELECT id, status, lines, scheduled, started, finished, worker FROM build"+where+" ORDER BY id DESC LIMIT ? OFFSET ?", append(args, q.limit, q.offset)...)
	if err != nil {
		return nil, classified(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var b build
		var id, lines, scheduled int64
		var started, finished sql.NullInt64
		var status string
		if err := rows.Scan(&id, &status, &lines, &scheduled, &started, &finished, &b.Worker); err != nil {
			return nil, classified(ctx, err)
		}
		b.ID, b.Status, b.Lines, b.Scheduled = uint64(id), sink.Status(status), uint64(lines), time.Unix(0, scheduled).UTC()
		if started.Valid {
			b.Started = time.Unix(0, started.Int64).UTC()
		}
		if finished.Valid {
			b.Finished = time.Unix(0, finished.Int64).UTC()
		}
		all = append(all, b)
	}
	return all, classified(ctx, rows.Err())
}

// count is how many builds q selects, without its limit.
func (s *Store) count(ctx context.Context, q query) (n int, err error) {
	where, args := q.where()
	err = s.readers.QueryRowContext(ctx, "SELECT count(*) FROM build"+where, args...).Scan(&n)
	return n, classified(ctx, err)
}

// build returns a build, or NotFound.
func (s *Store) build(ctx context.Context, id uint64) (build, error) {
	all, err := s.builds(ctx, query{id: id, limit: 1})
	if err == nil && (len(all) == 0 || id == 0) {
		err = fmt.Errorf("local sink: %w", errdefs.ErrNotFound.WithMessage(fmt.Sprintf("build %d was not found", id)))
	}
	if err != nil {
		return build{}, err
	}
	return all[0], nil
}

// change is a state that a build has had from a time on.
type change struct {
	Status sink.Status `json:"status"`
	Time   time.Time   `json:"time"`
}

// history returns the states that a build has had, in order.
func (s *Store) history(ctx context.Context, id uint64) (all []change, err error) {
	rows, err := s.readers.QueryContext(ctx, "SELECT status, time FROM history WHERE build = ? ORDER BY rowid", int64(id))
	if err != nil {
		return nil, classified(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var status string
		var at int64
		if err := rows.Scan(&status, &at); err != nil {
			return nil, classified(ctx, err)
		}
		all = append(all, change{sink.Status(status), time.Unix(0, at).UTC()})
	}
	return all, classified(ctx, rows.Err())
}

// pageBlocks is how many blocks are read at once at most: no reader is open for long, so that the log of the database does not grow.
const pageBlocks = 16

// part is a block that was read.
type part struct {
	first, count uint64
	data         []byte
}

// page returns the next blocks of a build's log that have lines behind the first after ones, of which so many are wanted. The first of them may begin with lines that are not.
func (s *Store) page(ctx context.Context, id, after, wanted uint64) (all []part, err error) {
	rows, err := s.readers.QueryContext(ctx, `SELECT first, count, data FROM block WHERE build = ?1
		AND first >= coalesce((SELECT max(first) FROM block WHERE build = ?1 AND first <= ?2), 0) AND first + count > ?2 ORDER BY first LIMIT ?3`, int64(id), int64(after), int64(1+min(wanted/100, pageBlocks-1)))
	if err != nil {
		return nil, classified(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var first, count int64
		var p part
		if err := rows.Scan(&first, &count, &p.data); err != nil {
			return nil, classified(ctx, err)
		}
		p.first, p.count = uint64(first), uint64(count)
		all = append(all, p)
	}
	return all, classified(ctx, rows.Err())
}

// artifact is a file that is stored.
type artifact struct {
	id         uint64
	build      uint64
	name, file string
	size       int64
	sha256     string
	tests      bool
}

// artifacts returns the files of a build, in the order in which they came; id selects one of them, unless it is 0.
func (s *Store) artifacts(ctx context.Context, build, id uint64) (all []artifact, err error) {
	rows, err := s.readers.QueryContext(ctx, "SELECT id, name, file, size, sha256, tests FROM artifact WHERE build = ?1 AND (id = ?2 OR ?2 = 0) ORDER BY id", int64(build), int64(id))
	if err != nil {
		return nil, classified(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		a := artifact{build: build}
		var id int64
		if err := rows.Scan(&id, &a.name, &a.file, &a.size, &a.sha256, &a.tests); err != nil {
			return nil, classified(ctx, err)
		}
		a.id = uint64(id)
		all = append(all, a)
	}
	return all, classified(ctx, rows.Err())
}

// hasArtifact reports whether there is a file of a name.
func (s *Store) hasArtifact(ctx context.Context, build uint64, name string) (bool, error) {
	var one int
	err := s.readers.QueryRowContext(ctx, "SELECT 1 FROM artifact WHERE build = ? AND name = ?", int64(build), name).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, classified(ctx, err)
}
