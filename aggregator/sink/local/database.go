package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/wharfci/wharf/aggregator/sink"
)

// What there is in the directory.
const (
	databaseFile = "wharf.db"
	artifactsDir = "artifacts"
)

// version is that of the schema.
const version = 1

// The times are nanoseconds since 1970. A block holds lines from the first on, which counts from 0. The lines of a build are those of its blocks together.
const schema = `
CREATE TABLE build (id INTEGER PRIMARY KEY, status TEXT NOT NULL, lines INTEGER NOT NULL DEFAULT 0, scheduled INTEGER NOT NULL, started INTEGER, finished INTEGER, worker TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX build_status ON build (status, id);
CREATE INDEX build_finished ON build (finished);
CREATE TABLE history (build INTEGER NOT NULL, status TEXT NOT NULL, time INTEGER NOT NULL) STRICT;
CREATE INDEX history_build ON history (build);
CREATE TABLE block (build INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (build, first)) STRICT;
CREATE TABLE artifact (id INTEGER PRIMARY KEY AUTOINCREMENT, build INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, tests INTEGER NOT NULL, file TEXT NOT NULL, UNIQUE (build, name)) STRICT;
`

// connect opens the database, and makes it if need be.
func (s *Store) connect() error {
	file := filepath.ToSlash(filepath.Join(s.dir, databaseFile))
	path := (&url.URL{Path: file}).EscapedPath()
	at := func(more url.Values) string {
		more["_pragma"] = append([]string{fmt.Sprintf("busy_timeout(%d)", s.opts.Busy.Milliseconds()), "page_size(8192)", "journal_mode(wal)", "wal_autocheckpoint(2000)", "journal_size_limit(67108864)"}, more["_pragma"]...)
		more.Set("modeof", file)
		return "file:" + path + "?" + strings.ReplaceAll(more.Encode(), "+", "%20") // SQLite does not know + as a space
	}
	var err error
	if s.writer, err = driver.Open(at(url.Values{"_txlock": {"immediate"}})); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	s.writer.SetMaxIdleConns(1)
	err = s.write(s.ctx, true, nil, prepare)
	if err == nil {
		s.readers, err = driver.Open(at(url.Values{"_txlock": {"deferred"}, "_pragma": {"query_only(on)"}}))
	}
	if err != nil {
		return errors.Join(err, s.writer.Close())
	}
	s.readers.SetMaxOpenConns(4)
	s.readers.SetMaxIdleConns(4)
	return nil
}

// prepare makes the tables, unless they are there.
func prepare(ctx context.Context, tx *sql.Tx) error {
	var have int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	switch {
	case have == version:
		return nil
	case have != 0:
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the database has version %d, and this program knows %d", have, version))
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA user_version = %d", schema, version))
	return err
}

// errFence is the error of a write after the end of the turn.
var errFence = errors.New("nothing may be written any more: another may have the build")

// open returns an error when the turn is over. A nil fence has no end.
func open(f sink.Fence) error {
	if f != nil && !time.Now().Before(f()) {
		return errFence
	}
	return nil
}

// write does something in a transaction, as long as the fence allows. One that is durable is on the disk when write returns, and with it all that were before.
func (s *Store) write(ctx context.Context, durable bool, fence sink.Fence, do func(context.Context, *sql.Tx) error) error {
	return classified(ctx, s.tryWrite(ctx, durable, fence, do))
}

func (s *Store) tryWrite(ctx context.Context, durable bool, fence sink.Fence, do func(context.Context, *sql.Tx) error) error {
	if err := open(fence); err != nil {
		return err
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	synchronous := "PRAGMA synchronous = NORMAL"
	if durable {
		synchronous = "PRAGMA synchronous = FULL"
	}
	if _, err := conn.ExecContext(ctx, synchronous); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := open(fence); err != nil {  // it may have waited for others
		return err
	}
	if err := do(ctx, tx); err != nil {
		return err
	}
	if err := open(fence); err != nil {
		return err
	}
	return tx.Commit()
}

// ensure makes a build unless there is one.
func ensure(ctx context.Context, tx *sql.Tx, build uint64) error {
	if build == 0 || build > math.MaxInt64 {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("build %d: the number of a build is from 1 to %d", build, uint64(math.MaxInt64)))
	}
	now := time.Now().UnixNano()
	res, err := tx.ExecContext(ctx, "INSERT INTO build (id, status, scheduled) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", int64(build), string(sink.Scheduling), now)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO history (build, status, time) VALUES (?, ?, ?)", int64(build), string(sink.Scheduling), now)
	return err
}
