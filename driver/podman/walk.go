package podman

import (
	"archive/tar"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Kinds of records of walkProgram.
const (
	walkEntry  = 0x57484152
	walkEnd    = walkEntry + 1
	walkFailed = walkEntry + 2
)

// walkRecord is what walkProgram writes before each name; see walk/walk.c.
type walkRecord struct {
	Kind, Mode, UID, GID     uint32
	Size, Dev, Inode, Device uint64
	Seconds                  int64
	Nanoseconds, Links       uint32
	NameLength, TargetLength uint32
}

// walked reads the records of walkProgram.
type walked struct {
	r        *bufio.Reader
	base     string // of the names in the archive
	first    map[[2]uint64]string
	record   walkRecord
	name     string
	target   string
	subjects string // what is walked, for errors
}

func newWalked(r io.Reader, at string) *walked {
	w := &walked{r: bufio.NewReaderSize(r, 64<<10), base: path.Base(at), first: map[[2]uint64]string{}, subjects: at}
	if at == "/" {
		w.base = "."
	}
	return w
}

// next reads a record, or returns io.EOF at the proper end.
func (w *walked) next() error {
	if err := binary.Read(w.r, binary.LittleEndian, &w.record); err != nil {
		return brokenOff(err)
	}
	text := make([]byte, int(w.record.NameLength&0xffff)+int(w.record.TargetLength&0xffff))
	if _, err := io.ReadFull(w.r, text); err != nil {
		return brokenOff(err)
	}
	w.name, w.target = string(text[:w.record.NameLength&0xffff]), string(text[w.record.NameLength&0xffff:])
	switch w.record.Kind {
	case walkEntry:
		return nil
	case walkEnd:
		return io.EOF
	case walkFailed:
		return w.failure(syscall.Errno(w.record.Size))
	}
	return brokenOff(fmt.Errorf("record of kind %#x", w.record.Kind))
}

func brokenOff(err error) error {
	return driver.WithClass(errdefs.ErrUnavailable, "the service broke off in the middle of the stream: %v", err)
}

func (w *walked) failure(errno syscall.Errno) error {
	at := path.Join(w.subjects, w.name)
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR:
		return driver.WithClass(errdefs.ErrNotFound, "%s: %v", at, errno)
	case syscall.ELOOP:
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s: %v", at, errno)
	}
	return driver.WithClass(errdefs.ErrInternal, "%s: %v", at, errno)
}

// archive writes the tar stream; the first record has been read.
func (w *walked) archive(to io.Writer) error {
	out := tar.NewWriter(to)
	for {
		if err := w.entry(out); err != nil {
			return err
		}
		if err := w.next(); errors.Is(err, io.EOF) {
			return out.Close()
		} else if err != nil {
			return err
		}
	}
}

// entry writes the current record. Sockets are in no archive; of a file with several names, the content is there once.
func (w *walked) entry(out *tar.Writer) error {
	r := &w.record
	name := w.base
	if w.name != "" {
		name += "/" + w.name
	}
	h := &tar.Header{
		Name: name, Linkname: w.target, Mode: int64(r.Mode & 0o7777), Uid: int(r.UID), Gid: int(r.GID),
		ModTime: time.Unix(r.Seconds, int64(r.Nanoseconds)), Format: tar.FormatPAX,
	}
	content := int64(r.Size)
	switch r.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, content
	case syscall.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case syscall.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case syscall.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case syscall.S_IFCHR, syscall.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if r.Mode&syscall.S_IFMT == syscall.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(r.Device>>8&0xfff), int64(r.Device&0xff|r.Device>>12&0xfff00)
	default:
		return nil
	}
	if r.Links > 1 && h.Typeflag != tar.TypeDir {
		file := [2]uint64{r.Dev, r.Inode}
		if first, seen := w.first[file]; seen {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			w.first[file] = name
		}
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		_, err := io.CopyN(io.Discard, w.r, content)
		return err
	}
	if _, err := io.CopyN(out, w.r, content); errors.Is(err, io.EOF) {
		return brokenOff(io.ErrUnexpectedEOF)
	} else if err != nil {
		return err
	}
	return nil
}

// outputOf is the standard output of a container, taken out of the stream that an attached client gets.
type outputOf struct {
	r      io.Reader
	remain int64
}

func (o *outputOf) Read(p []byte) (int, error) {
	for o.remain == 0 {
		var header [8]byte
		if _, err := io.ReadFull(o.r, header[:]); err != nil {
			return 0, err
		}
		o.remain = int64(binary.BigEndian.Uint32(header[4:]))
		if header[0] != 1 {
			if _, err := io.CopyN(io.Discard, o.r, o.remain); err != nil {
				return 0, err
			}
			o.remain = 0
		}
	}
	n, err := o.r.Read(p[:min(int64(len(p)), o.remain)])
	o.remain -= int64(n)
	return n, err
}
