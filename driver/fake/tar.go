package fake

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// unpack writes the entries of a checked stream into a directory, as root.
func (v *view) unpack(dir string, r io.Reader) error {
	v.disk.mu.Lock()
	at, err := v.existing(dir, true, root)
	isDir := err == nil && at.node.mode.IsDir()
	v.disk.mu.Unlock()
	if err != nil {
		return pathError(dir, err)
	}
	if !isDir {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s: is not a directory", dir)
	}
	times := map[*node]time.Time{} // of directories; what is written into them changes these
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := v.unpackEntry(at.path, h, in, times); err != nil {
			return fmt.Errorf("tar entry %q: %w", h.Name, err)
		}
	}
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	for n, t := range times {
		n.mtime = t
	}
	return nil
}

func (v *view) unpackEntry(dir string, h *tar.Header, content io.Reader, times map[*node]time.Time) error {
	var data blob
	if h.Typeflag == tar.TypeReg {
		buf := make([]byte, min(h.Size+1, piece))
		for {
			n, err := io.ReadFull(content, buf)
			data.write(buf[:n])
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && data.size == h.Size {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	p := path.Join(dir, h.Name)
	if _, err := v.mkdirAll(path.Dir(p), 0o755); err != nil {
		return pathError(p, err)
	}
	n, err := v.replace(p, dir, h)
	if err != nil || h.Typeflag == tar.TypeLink {
		return pathError(p, err)
	}
	n.data, n.target = data, h.Linkname
	n.uid, n.gid, n.mtime = h.Uid, h.Gid, h.ModTime
	n.mode = n.mode.Type() | chmodBits(h.Mode)
	if n.mode.IsDir() {
		times[n] = h.ModTime
	}
	return nil
}

// replace returns the node for an entry: the directory that is there, or a new node in place of what is there.
func (v *view) replace(p, dir string, h *tar.Header) (*node, error) {
	at, err := v.find(p, false, root)
	if err != nil {
		return nil, err
	}
	if at.node != nil && at.node.mode.IsDir() {
		if h.Typeflag != tar.TypeDir {
			return nil, syscall.EISDIR
		}
		return at.node, v.writable(at.path)
	}
	var n *node
	switch h.Typeflag {
	case tar.TypeLink:
		old, err := v.existing(path.Join(dir, h.Linkname), false, root)
		if err != nil {
			return nil, err
		}
		n = old.node
		n.links++
	case tar.TypeDir:
		n = v.disk.node(fs.ModeDir, root)
	case tar.TypeSymlink:
		n = v.disk.node(fs.ModeSymlink, root)
	default:
		n = v.disk.node(0, root)
	}
	return n, v.put(at, n, root)
}

func chmodBits(bits int64) fs.FileMode {
	m := fs.FileMode(bits) & fs.ModePerm
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if bits&(0o1000<<i) != 0 {
			m |= bit
		}
	}
	return m
}

// member is a file on its way out.
type member struct {
	h    tar.Header
	data blob
}

// pack returns a file or directory as a stream. What it was when pack was called is what is in the stream.
func (v *view) pack(p string) (io.ReadCloser, error) {
	v.disk.mu.Lock()
	at, err := v.existing(p, false, root)
	var members []member
	if err == nil {
		name := path.Base(path.Clean(p))
		if at.parent == nil {
			name = "."
		}
		members = v.collect(nil, at.node, at.path, name, map[*node]string{})
	}
	v.disk.mu.Unlock()
	if err != nil {
		return nil, pathError(p, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTar(w, members)) }()
	return r, nil
}

func (v *view) collect(members []member, n *node, p, name string, seen map[*node]string) []member {
	m := member{h: tar.Header{
		Name: name, Mode: int64(n.mode.Perm()), Uid: n.uid, Gid: n.gid, ModTime: n.mtime, Format: tar.FormatPAX,
	}}
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if n.mode&bit != 0 {
			m.h.Mode |= 0o1000 << i
		}
	}
	first, again := seen[n]
	switch {
	case n.mode.IsDir():
		m.h.Typeflag, m.h.Name = tar.TypeDir, name+"/"
	case again:
		m.h.Typeflag, m.h.Linkname = tar.TypeLink, first
	case n.mode.Type() == fs.ModeSymlink:
		m.h.Typeflag, m.h.Linkname = tar.TypeSymlink, n.target
	default:
		m.h.Typeflag, m.h.Size, m.data = tar.TypeReg, n.data.size, n.data.snapshot()
	}
	seen[n] = name
	members = append(members, m)
	for _, child := range n.names() {
		childPath := path.Join(p, child)
		members = v.collect(members, v.child(n, child, childPath), childPath, name+"/"+child, seen)
	}
	return members
}

func writeTar(w io.Writer, members []member) error {
	out := tar.NewWriter(w)
	for _, m := range members {
		if err := out.WriteHeader(&m.h); err != nil {
			return err
		}
		for _, p := range m.data.pieces {
			if _, err := out.Write(p); err != nil {
				return err
			}
		}
	}
	return out.Close()
}

// pathError gives a file system's error the class of the contract.
func pathError(p string, err error) error {
	class := error(errdefs.ErrFailedPrecondition)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		class = errdefs.ErrNotFound
	}
	return driver.WithClass(class, "%s: %v", p, err)
}
