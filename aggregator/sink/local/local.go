// Package local is a sink that keeps builds in a directory, for who has no wharf-api: a SQLite database, and artifacts as files beside it. [Store.Handler] reads them over HTTP.
//
//	s, err := local.Open("/var/lib/wharf/builds", local.Options{Keep: 30 * 24 * time.Hour})
//	defer s.Close()
//
// # What is kept
//
// Lines are stored in blocks of some 64 KiB, a row each, with the number of the first line as their index. That is many times faster than a row a line, and a page of a log costs one
// look-up and at most one block that is read in vain. Step and Entry of a line are not kept. States are kept with the times at which they were set.
//
// # Exactly once
//
// Every write is a transaction that looks at the fence of its turn first and last, and one of lines stores them only if there are as many before them as Append was told. So
// a writer whose turn is over stores nothing that is there already, even one that was stopped between the last look and the end of its transaction: meanwhile nobody else could write. A build that is
// not known is made when something is written of it.
//
// A build never goes back. What SetStatus is told of a state that does not come after the build's own, such as a late Running, or Failed where Completed was first, changes nothing, and is no error.
//
// # Crashes
//
// What Commit, SetStatus and PutArtifact have returned nil for is on the disk: it survives a kill of the process, and of the machine as far as the disk keeps its word. Several processes
// may have a directory open at once. It must be on a file system of this machine: over a network, SQLite's locks and shared memory do not work.
package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator/sink"
)

// Options say how builds are kept. The zero value of every field is good.
type Options struct {
	// Keep is how long builds are kept after their end; 0 keeps them for good. It should be much longer than a worker waits to be relayed: a build that was removed and is then reported again begins anew.
	Keep time.Duration
	// Busy is how long a write waits for other processes that write; 0 is 30 seconds. After that it is Unavailable.
	Busy time.Duration
	// Log takes what goes wrong when builds are removed; nil is nothing.
	Log hclog.Logger
}

// Store is a directory of builds. It is a [sink.Sink]. Its methods may be called by many goroutines at once.
type Store struct {
	dir     string
	opts    Options
	writer  *sql.DB // one connection: who waits for it can give up, and is not made to wait by chance
	readers *sql.DB
	watch   watch

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	loop   sync.WaitGroup
}

var _ sink.Sink = (*Store)(nil)

// Open opens a directory, which it makes, for this user alone, if there is none. With Options.Keep it removes old builds, at once and then every hour, until Close.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Keep < 0 || opts.Busy < 0 {
		return nil, errors.New("local sink: Keep and Busy must not be negative")
	}
	if opts.Busy == 0 {
		opts.Busy = 30 * time.Second
	}
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = makeAll(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("local sink: %w", err)
	}
	s := &Store{dir: dir, opts: opts}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.connect(); err != nil {
		s.cancel()
		return nil, fmt.Errorf("local sink: %s: %w", filepath.Join(dir, databaseFile), err)
	}
	if opts.Keep > 0 {
		s.loop.Go(s.expireOften)
	}
	return s, nil
}

// makeAll makes what others are not to read: logs and artifacts may have secrets in them. SQLite's own log gets the mode of the database (modeof); its shared memory has nothing of them.
func makeAll(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, artifactsDir), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, databaseFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(dir))
}

// Close closes the database, and ends logs that are followed. What was committed stays.
func (s *Store) Close() error {
	s.cancel()
	s.loop.Wait()
	return errors.Join(s.readers.Close(), s.writer.Close())
}

// Open returns the store's side of a build. See [sink.Report].
func (s *Store) Open(build uint64, turn sink.Turn) sink.Report {
	return &report{store: s, build: build, turn: turn}
}

// Ready returns nil if the database can be written.
func (s *Store) Ready(ctx context.Context) error {
	return s.write(ctx, false, nil, func(context.Context, *sql.Tx) error { return nil })
}

// Add makes a build that is Scheduling, or tells of one that there is already its Scheduled and Worker, unless they are zero. Its Status is not looked at. Nobody has to call it: a build is made when something is
// written of it.
func (s *Store) Add(ctx context.Context, b sink.Build) error {
	err := s.write(ctx, true, nil, func(ctx context.Context, tx *sql.Tx) error {
		if err := ensure(ctx, tx, b.ID); err != nil {
			return err
		}
		if !b.Scheduled.IsZero() {
			if _, err := tx.ExecContext(ctx, "UPDATE build SET scheduled = ? WHERE id = ?", b.Scheduled.UnixNano(), int64(b.ID)); err != nil {
				return err
			}
		}
		if b.Worker == "" {
			return nil
		}
		_, err := tx.ExecContext(ctx, "UPDATE build SET worker = ? WHERE id = ?", b.Worker, int64(b.ID))
		return err
	})
	if err == nil {
		s.watch.changed(b.ID)
	}
	return err
}

// Active returns the builds that have not ended.
func (s *Store) Active(ctx context.Context) ([]sink.Build, error) {
	found, err := s.builds(ctx, query{status: []sink.Status{sink.Scheduling, sink.Running}, limit: -1})
	if err != nil {
		return nil, err
	}
	all := make([]sink.Build, len(found))
	for i, b := range found {
		all[i] = sink.Build{ID: b.ID, Status: b.Status, Scheduled: b.Scheduled, Worker: b.Worker}
	}
	return all, nil
}

// classified is an error of the database in the classes of errdefs. That of a context stays what it is.
func classified(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("local sink: %w", context.Cause(ctx))
	case errdefs.IsInvalidArgument(err), errdefs.IsNotFound(err), errdefs.IsUnavailable(err), errors.Is(err, errFence), errors.Is(err, errMoved):
		return fmt.Errorf("local sink: %w", err)
	}
	return fmt.Errorf("local sink: %w", errdefs.ErrUnavailable.WithMessage(err.Error()))
}
