package driver

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// SafeTar returns the stream of r with every entry checked, for drivers to hand to their runtime. It is
// refused, as InvalidArgument, when a name is absolute or leaves the directory by "..",
// when a hard link's target does so, when an entry lies below a symbolic link of the same
// stream, or is a hard link to or below one, and when an entry is a device, a FIFO or of an unknown type; and, unless
// outsideLinks is set, when a symbolic link's target is absolute or leads out of the directory. Names are cleaned; everything else of a header is kept.
// Sparse files keep their size. A hard link gets mode, owner and times of its target in the same stream: they are one
// file, and runtimes apply what its last header says.
//
// The error comes from Read. What was read before it is a valid beginning
// of a stream. Closing the result ends the goroutine that checks; r is not closed.
func SafeTar(r io.Reader, outsideLinks bool) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(safeTar(pw, r, outsideLinks)) }()
	return pr
}

func safeTar(w io.Writer, r io.Reader, outsideLinks bool) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	links, files := map[string]bool{}, map[string]attributes{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return brokenTar(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := safeHeader(h, links, outsideLinks); err != nil {
			return err
		}
		sameFile(h, files)
		h.Format = tar.FormatPAX // keeps fractions of seconds; and a GNU sparse header cannot be written back
		for k := range h.PAXRecords {
			if strings.HasPrefix(k, "GNU.sparse.") {
				delete(h.PAXRecords, k)
			}
		}
		if h.Typeflag == tar.TypeGNUSparse {
			h.Typeflag = tar.TypeReg
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("tar entry %q: %w", h.Name, err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return brokenTar(err)
		}
	}
}

// attributes are what all names of one file share.
type attributes struct {
	mode         int64
	uid, gid     int
	user, group  string
	mtime, atime time.Time
}

// sameFile remembers a file's attributes, and gives them to a hard link to it.
func sameFile(h *tar.Header, files map[string]attributes) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
	case tar.TypeLink:
		a, ok := files[h.Linkname]
		if !ok {
			return
		}
		h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime, h.AccessTime = a.mode, a.uid, a.gid, a.user, a.group, a.mtime, a.atime
	default:
		return
	}
	files[h.Name] = attributes{h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime, h.AccessTime}
}

func brokenTar(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(invalid("broken tar stream"), err)
	}
	return fmt.Errorf("tar stream: %w", err)
}

func safeHeader(h *tar.Header, links map[string]bool, outsideLinks bool) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if dir := below(name, links); dir != "" {
		return invalid("tar entry %q: lies below the symbolic link %q", h.Name, dir)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		delete(links, name)
	case tar.TypeDir:
		if name != "." {
			delete(links, name)
			name += "/"
		} else {
			name = "./"
		}
	case tar.TypeLink:
		if h.Linkname, err = inside(h.Linkname); err != nil {
			return invalid("tar entry %q: hard link out of the directory", h.Name)
		}
		if links[h.Linkname] || below(h.Linkname, links) != "" { // it would be that symbolic link, or what that leads to
			return invalid("tar entry %q: hard link to, or below, the symbolic link %q", h.Name, h.Linkname)
		}
		delete(links, name)
	case tar.TypeSymlink:
		target := path.Join(path.Dir(name), h.Linkname)
		if outside := path.IsAbs(h.Linkname) || target == ".." || strings.HasPrefix(target, "../"); outside && !outsideLinks {
			return invalid("tar entry %q: symbolic link out of the directory, to %q", h.Name, h.Linkname)
		}
		links[name] = true
	default:
		return invalid("tar entry %q: is a device, FIFO or of an unknown type (%q)", h.Name, h.Typeflag)
	}
	h.Name = name
	return nil
}

// below returns the symbolic link that a cleaned name lies below, or "".
func below(name string, links map[string]bool) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if links[dir] {
			return dir
		}
	}
	return ""
}

// inside cleans a name, or refuses it because it is absolute or leaves the directory.
func inside(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(name, 0) {
		return "", invalid("tar entry %q: leaves the directory", name)
	}
	return clean, nil
}
