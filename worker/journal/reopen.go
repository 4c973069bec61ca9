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
// [ErrNewer] if a later version wrote it, and [fs.ErrExist] if its process is still alive.
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
	for {
		w.size = r.done()
		line, err := r.line()
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err != nil || !w.whole(r, line) {
			break
		}
	}
	w.seq = r.seq
	info, err := w.file.Stat()
	if err != nil {
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

// whole reports whether a line is a record whose text is all there, and counts it.
func (w *Writer) whole(r *Reader, line []byte) bool {
	rec, err := parseRecord(line, r.seq)
	if err != nil {
		return false
	}
	if rec.Kind == KindLog {
		if rec.Offset != w.ends[rec.Step] {
			return false
		}
		f, err := r.log(rec.Step)
		if err != nil {
			return false
		}
		text := make([]byte, rec.Bytes)
		if _, err := f.ReadAt(text, rec.Offset); err != nil || crc32.Checksum(text, castagnoli) != rec.CRC {
			return false
		}
		w.ends[rec.Step] += rec.Bytes
		for _, run := range rec.Runs {
			w.full[rec.Step] = w.full[rec.Step] || run.Stream == StreamWharf
		}
		w.text += rec.Bytes
	}
	r.seq += rec.entries()
	return true
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
