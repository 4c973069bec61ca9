package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Reopen goes on with the journal in a results directory whose process has ended. What is not whole at its end, as after a loss of
// power, is cut off first; torn is how many bytes of the journal that were. The error matches [fs.ErrNotExist] if there is no journal,
// [ErrNewer] if a later version wrote it, [fs.ErrExist] if its process is still alive, and [ErrDamaged] if more is not whole than a loss of power explains; then
// nothing is changed.
func Reopen(dir string, opts Options) (w *Writer, torn int64, err error) {
	path := filepath.Join(dir, fileName)
	if _, err := os.Stat(path); err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	r, err := Open(dir) // first of all: what a newer version wrote is not touched
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = r.Close() }()
	locked, err := takeLock(dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = locked.Close()
		}
	}()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	w = newWriter(dir, opts, f)
	w.locked = locked
	w.header = r.header
	if torn, err = w.recover(r); err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("journal %s: %w", dir, describe(err))
	}
	return w, torn, nil
}

// recover finds the longest beginning that is whole, and cuts off the rest of the journal and of the logs.
func (w *Writer) recover(r *Reader) (torn int64, err error) {
	safe := synced(w.dir)
	for {
		w.size = r.done()
		line, err := r.line()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		what, err := w.whole(r, line, w.size < safe)
		if err != nil {
			return 0, err
		}
		if what != "" {
			if w.size < safe {
				return 0, fmt.Errorf("%w behind entry %d, which was on the disk before its process ended: %s; nothing was changed", ErrDamaged, r.seq, what)
			}
			break
		}
	}
	w.seq = r.seq
	info, err := w.file.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < safe {
		return 0, fmt.Errorf("%w: %s has %d bytes, and %d were on the disk; nothing was changed", ErrDamaged, fileName, info.Size(), safe)
	}
	if err := w.logsAreThere(); err != nil {
		return 0, err
	}
	w.used = w.size + w.text
	if err := layBy(w.dir); err != nil {
		return 0, err
	}
	if err := w.file.Truncate(w.size); err != nil {
		return 0, err
	}
	return info.Size() - w.size, w.cutLogs()
}

// whole looks whether a line is a record whose text is all there, and counts it; else it says what is wrong with it. Text that is known to be on the disk is not read. An error
// is trouble with the files, which says nothing of what they hold.
func (w *Writer) whole(r *Reader, line []byte, safe bool) (wrong string, err error) {
	rec, err := parseRecord(line, r.seq)
	if err != nil {
		return err.Error(), nil
	}
	if rec.Kind == KindLog {
		if rec.Offset != w.ends[rec.Step] {
			return fmt.Sprintf("its lines stand at %d of the log of %s, which ends at %d", rec.Offset, rec.Step, w.ends[rec.Step]), nil
		}
		if !safe {
			if wrong, err := r.check(&rec); wrong != "" || err != nil {
				return wrong, err
			}
		}
		w.ends[rec.Step] += rec.Bytes
		for _, run := range rec.Runs {
			w.full[rec.Step] = w.full[rec.Step] || run.Stream == StreamWharf
		}
		w.text += rec.Bytes
	}
	r.seq += rec.entries()
	return "", nil
}

// check reads the text of a record, and says what is wrong with it.
func (r *Reader) check(rec *record) (wrong string, err error) {
	f, err := r.log(rec.Step)
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no log of " + rec.Step, nil
	}
	if err != nil {
		return "", err
	}
	text := make([]byte, rec.Bytes)
	if _, err := f.ReadAt(text, rec.Offset); errors.Is(err, io.EOF) {
		return "the log of " + rec.Step + " is too short", nil
	} else if err != nil {
		return "", err
	}
	if crc32.Checksum(text, castagnoli) != rec.CRC {
		return "the text in the log of " + rec.Step + " is another", nil
	}
	return "", nil
}

// logsAreThere sees that each log is as long as the records say.
func (w *Writer) logsAreThere() error {
	for step, end := range w.ends {
		info, err := os.Stat(filepath.Join(w.dir, LogPath(step)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || info.Size() < end {
			return fmt.Errorf("%w: %s is gone or too short, the journal knows of %d bytes in it; nothing was changed", ErrDamaged, LogPath(step), end)
		}
	}
	return nil
}

// cutLogs cuts off what no record refers to. A log of which nothing is left goes away.
func (w *Writer) cutLogs() error {
	steps, err := os.ReadDir(filepath.Join(w.dir, "steps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, s := range steps {
		path := filepath.Join(w.dir, LogPath(s.Name()))
		if w.ends[s.Name()] == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.Truncate(path, w.ends[s.Name()]); err != nil {
			return err
		}
	}
	return nil
}
