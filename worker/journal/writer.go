package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/wharfci/wharf/worker/internal/flock"
)

// reserveSize is what is laid by for the last entries on a full disk.
const reserveSize = 64 << 10

// Options are how a journal is kept. The zero value is good.
type Options struct {
	// Build is the build's ID, for the header.
	Build string
	// Host is for the header, too.
	Host string
	// Quota bounds the bytes of logs and journal together; beyond it the writer fails as on a full disk. 0 is no bound.
	Quota int64
	// StepLimit and BuildLimit bound the bytes of a step's log, and of all logs. What goes beyond is not kept, which an entry of the log
	// says, and another, at the end of the step, how much that was; the writer does not fail. 0 is no limit.
	StepLimit, BuildLimit int64
}

// Writer writes the journal of one build. Its methods may be called by many goroutines at once.
type Writer struct {
	dir    string
	opts   Options
	header Header
	failed chan struct{}
	locked *os.File

	mu        sync.Mutex
	file      *os.File
	size      int64 // bytes of whole records in file
	used      int64 // bytes written of journal and logs
	text      int64 // of those, of logs
	seq       uint64
	err       error
	line      []byte
	logs      map[string]*Log
	ends      map[string]int64 // where the logs of steps end that an earlier process wrote
	full      map[string]bool  // those of which a limit was reached
	unstored  []Event
	abandoned bool
	moved     sync.Cond // size, ephemeral or closed changed
	pulls     []Event   // the newest of each image, not yet told
	closed    bool
	syncer    syncer
}

// Create makes the results directory, if need be, and an empty journal in it. A directory that holds a
// journal already is refused with an error that matches [fs.ErrExist].
func Create(dir string, opts Options) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("results directory: %w", err)
	}
	locked, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	w, err := begin(dir, opts)
	if err != nil {
		_ = locked.Close()
		return nil, err
	}
	w.locked = locked
	return w, nil
}

// takeLock locks a results directory for writing.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("results directory: %w", describe(err))
	}
	if err := flock.Lock(f); err != nil {
		_ = f.Close()
		if errors.Is(err, flock.ErrHeld) {
			err = fmt.Errorf("a build is running in it: %w", fs.ErrExist)
		}
		return nil, fmt.Errorf("results directory %s: %w", dir, err)
	}
	return f, nil
}

// begin makes the journal. It appears under its name with its header, so no one ever sees it without.
func begin(dir string, opts Options) (_ *Writer, err error) {
	path := filepath.Join(dir, fileName)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("results directory %s holds the journal of another build; choose another directory, or remove it: %w", dir, fs.ErrExist)
	}
	f, err := os.CreateTemp(dir, ".journal-")
	if err != nil {
		return nil, fmt.Errorf("results directory: %w", describe(err))
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			_ = os.Remove(filepath.Join(dir, reserveName))
			err = fmt.Errorf("results directory: %w", describe(err))
		}
	}()
	if err := layBy(dir); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, syncedName)); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a journal that was removed
		return nil, err
	}
	w := newWriter(dir, opts, f)
	w.header = Header{Version: Version, Build: opts.Build, Host: opts.Host, Created: time.Now().UTC().Round(0)}
	head, err := json.Marshal(w.header)
	if err != nil {
		return nil, err
	}
	n, err := f.Write(append(head, '\n'))
	if err != nil {
		return nil, err
	}
	w.size = int64(n)
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return nil, err
	}
	return w, os.Rename(f.Name(), path)
}

// layBy makes the reserve.
func layBy(dir string) error {
	return os.WriteFile(filepath.Join(dir, reserveName), make([]byte, reserveSize), 0o600)
}

func newWriter(dir string, opts Options, f *os.File) *Writer {
	w := &Writer{dir: dir, opts: opts, file: f, failed: make(chan struct{}), logs: map[string]*Log{}, ends: map[string]int64{}, full: map[string]bool{}}
	w.moved.L = &w.mu
	return w
}

// Header returns the journal's first line.
func (w *Writer) Header() Header { return w.header }

// Append stores an event that is no log line, and gives it its number and, if it has none, its time. After Close it does nothing.
func (w *Writer) Append(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Round(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.err == nil {
		w.store(e)
	}
	if w.err != nil && !w.abandoned {
		e.Seq = 0
		w.unstored = append(w.unstored, e)
	}
	w.moved.Broadcast()
}

// store writes e with the next number. The caller holds mu.
func (w *Writer) store(e Event) {
	e.Seq = w.seq + 1
	text, err := json.Marshal(e)
	if err != nil {
		w.fail(err)
		return
	}
	if w.record(append(text, '\n')) {
		w.seq++
	}
}

// record writes one line of the journal whole, or not at all. The caller holds mu.
func (w *Writer) record(line []byte) bool {
	err := w.charge(len(line))
	if err == nil {
		_, err = w.file.WriteAt(line, w.size)
	}
	if err != nil {
		w.fail(err)
		return false
	}
	w.size += int64(len(line))
	w.syncer.arm(w)
	return true
}

// charge counts n bytes against the quota. The caller holds mu.
func (w *Writer) charge(n int) error {
	if w.opts.Quota > 0 && w.used+int64(n) > w.opts.Quota {
		return fmt.Errorf("the build's logs exceed their quota of %d bytes", w.opts.Quota)
	}
	w.used += int64(n)
	return nil
}

// fail notes the first error, and cuts off what was written in part. The caller holds mu.
func (w *Writer) fail(err error) {
	_ = w.file.Truncate(w.size)
	if w.err == nil {
		w.err = fmt.Errorf("results cannot be written to %s: %w", w.dir, describe(err))
		close(w.failed)
	}
}

// Fail lets the writer fail from outside: something else of the results, such as an artifact, could not be stored.
func (w *Writer) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
	w.moved.Broadcast()
}

// Failed is closed when an entry could not be stored; Err says why.
func (w *Writer) Failed() <-chan struct{} { return w.failed }

// Err returns why the writer failed, or nil.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Last returns the number of the last entry.
func (w *Writer) Last() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seq
}

// Closed reports whether Close was called: there will be no other entry.
func (w *Writer) Closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// Pull tells observers how far a pull is. It is not stored, and only the newest of each image is told.
func (w *Writer) Pull(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC().Round(0)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.pulls {
		if w.pulls[i].Image == e.Image {
			w.pulls[i] = e
			return
		}
	}
	w.pulls = append(w.pulls, e)
	w.moved.Broadcast()
}

// Close writes what logs still hold, syncs all to the disk, and ends the journal. After a failure it stores the events that could not be
// stored, as far as the reserve goes, and returns the failure.
func (w *Writer) Close() error {
	w.mu.Lock()
	logs := make([]*Log, 0, len(w.logs))
	for _, l := range w.logs {
		logs = append(logs, l)
	}
	w.mu.Unlock()
	for _, l := range logs {
		l.Close()
	}
	w.syncer.stop(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.err
	}
	w.closed = true
	_ = os.Remove(filepath.Join(w.dir, reserveName))
	if w.err != nil {
		w.storeLast()
	}
	err := w.file.Sync()
	if err == nil {
		w.syncer.note(w.dir, w.size)
	}
	err = errors.Join(err, w.file.Close())
	if w.syncer.mark != nil {
		_ = w.syncer.mark.Close()
	}
	if w.locked != nil {
		_ = w.locked.Close()
	}
	w.moved.Broadcast()
	return errors.Join(w.err, err)
}

// Abandon ends the journal as it is: what could not be stored is forgotten, as nothing of it has happened.
func (w *Writer) Abandon() error {
	w.mu.Lock()
	w.unstored = nil
	w.abandoned = true
	w.mu.Unlock()
	return w.Close()
}

// Unstored returns, once the journal is closed, the events that it could not take.
func (w *Writer) Unstored() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		return nil
	}
	return w.unstored
}

// storeLast tries to store, in the room that the reserve left, what could not be stored. The caller holds mu.
func (w *Writer) storeLast() {
	w.opts.Quota = 0
	for i, e := range w.unstored {
		before := w.seq
		if w.store(e); w.seq == before {
			w.unstored = w.unstored[i:]
			return
		}
	}
	w.unstored = nil
}

// describe says "no space left" in words that name the mend.
func describe(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is full; make room, or choose another results directory: %w", err)
	}
	return err
}
