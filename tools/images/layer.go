package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// layer writes a tar in which only names, modes and contents count: owner root, one time for all, the order of the calls. The
// first error stays and is returned by close.
type layer struct {
	at  time.Time
	out *os.File
	buf *bufio.Writer
	sum hash.Hash
	tar *tar.Writer
	err error
}

// madeLayer is a finished layer.
type madeLayer struct {
	file   string
	digest string // SHA-256, in hexadecimal digits
}

func makeLayer(name string, at time.Time, fill func(*layer) error) (madeLayer, error) {
	l, err := newLayer(name, at)
	if err != nil {
		return madeLayer{}, err
	}
	if err := fill(l); err != nil {
		l.out.Close()
		return madeLayer{}, err
	}
	digest, err := l.close()
	return madeLayer{name, digest}, err
}

func newLayer(name string, at time.Time) (*layer, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	l := &layer{at: at, out: f, buf: bufio.NewWriterSize(f, 1<<20), sum: sha256.New()}
	l.tar = tar.NewWriter(io.MultiWriter(l.buf, l.sum))
	return l, nil
}

func (l *layer) close() (digest string, err error) {
	for _, step := range []func() error{l.tar.Close, l.buf.Flush, l.out.Close} {
		if err := step(); l.err == nil {
			l.err = err
		}
	}
	return fmt.Sprintf("%x", l.sum.Sum(nil)), l.err
}

func (l *layer) header(h tar.Header) {
	if l.err != nil {
		return
	}
	h.ModTime, h.Format = l.at, tar.FormatPAX
	l.err = l.tar.WriteHeader(&h)
}

func (l *layer) dir(name string, mode int64) {
	l.header(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

// parents writes the directory and those above it, unless they were seen before.
func (l *layer) parents(dir string, seen map[string]bool) {
	if dir == "." || seen[dir] {
		return
	}
	l.parents(filepath.Dir(dir), seen)
	seen[dir] = true
	l.dir(dir, 0o755)
}

func (l *layer) link(name, target string) {
	l.header(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func (l *layer) file(name string, mode int64, content []byte) {
	l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))})
	if l.err == nil {
		_, l.err = l.tar.Write(content)
	}
}

// copyFile writes the file that is at path, with its permission to execute.
func (l *layer) copyFile(name, path string) {
	if l.err != nil {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		l.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		l.err = err
		return
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: info.Size()})
	if l.err == nil {
		_, l.err = io.Copy(l.tar, f)
	}
}

// tree writes what is in the directory root, below name, in lexical order. Entries for which skip, if given, returns true are left
// out, directories with all that is in them.
func (l *layer) tree(name, root string, skip func(rel string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if rel != "." && skip != nil && skip(rel, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return l.entry(filepath.Join(name, rel), path, d)
	})
}

func (l *layer) entry(name, path string, d fs.DirEntry) error {
	switch {
	case d.IsDir():
		l.dir(name, 0o755)
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		l.link(name, target)
	case d.Type().IsRegular():
		l.copyFile(name, path)
	}
	return l.err
}
