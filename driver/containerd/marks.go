//go:build linux

package containerd

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// A mark says that a log file had a certain size at a certain time, so that what is before that place was written by then. The files of
// marks are in a directory of their own, whose changes nobody watches. Each process that started a task, or follows its log, adds
// to them; a mark too many does no harm.
type mark struct {
	size int64
	time time.Time
}

const (
	markSize = 16      // in bytes: the size and the nanoseconds since 1970, both in little endian
	marksDir = "times" // beside the logs
)

func marksFile(logFile string) string {
	return filepath.Join(filepath.Dir(logFile), marksDir, filepath.Base(logFile))
}

// noteTime adds a mark for the present size of a log file, with the time of its last change. Files that have no marks, those
// that are no logs among them, it leaves alone.
func noteTime(logFile string) {
	f, err := os.OpenFile(marksFile(logFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := os.Stat(logFile)
	if err != nil {
		return
	}
	var b [markSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(info.Size()))
	binary.LittleEndian.PutUint64(b[8:], uint64(info.ModTime().UnixNano()))
	_, _ = f.Write(b[:]) // on a full disk the times are less exact
}

// brokenMode are the permissions of a log file that may lack something at its end. They can be set on a full disk too.
const brokenMode = 0o640

// noteBreak looks, when a log file has been closed, whether that was for want of room on the disk: the shim says nothing about it, and
// copies no more.
func noteBreak(logFile string) {
	var fs unix.Statfs_t
	if _, err := os.Stat(marksFile(logFile)); err == nil && unix.Statfs(logFile, &fs) == nil && fs.Bfree == 0 {
		_ = os.Chmod(logFile, brokenMode)
	}
}

// brokenOff returns an error if a log file may lack something at its end.
func brokenOff(logFile string) error {
	if info, err := os.Stat(logFile); err != nil || info.Mode().Perm() != brokenMode {
		return nil
	}
	return driver.WithClass(errdefs.ErrResourceExhausted, "the log breaks off: there was no space left on the disk of %s; make room, or choose another Root", filepath.Dir(logFile))
}

// marks reads the marks of a log file, one after another, as its reader goes on.
type marks struct {
	file  string
	f     *os.File
	off   int64
	ahead []mark
	dry   bool // there were no more when it was last looked
}

// at returns the first mark at or behind an offset. Offsets must not decrease.
func (m *marks) at(offset int64) (time.Time, bool) {
	for {
		for len(m.ahead) > 0 {
			if m.ahead[0].size >= offset {
				return m.ahead[0].time, true
			}
			m.ahead = m.ahead[1:]
		}
		if m.dry || !m.load() {
			m.dry = true
			return time.Time{}, false
		}
	}
}

// load reads more marks, and reports whether there were any.
func (m *marks) load() bool {
	if m.f == nil {
		f, err := os.Open(m.file)
		if err != nil {
			return false
		}
		m.f = f
	}
	buf := make([]byte, 1024*markSize)
	n, _ := m.f.ReadAt(buf, m.off)
	n -= n % markSize
	m.off += int64(n)
	for b := buf[:n]; len(b) > 0; b = b[markSize:] {
		m.ahead = append(m.ahead, mark{int64(binary.LittleEndian.Uint64(b)), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))).UTC()})
	}
	return n > 0
}

func (m *marks) close() {
	if m.f != nil {
		m.f.Close()
	}
	m.f, m.dry, m.ahead = nil, true, nil
}
