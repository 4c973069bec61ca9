package runc

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// unpack writes a stream below a directory, as root. Directories that are there stay; other files are replaced.
func unpack(to *tree, r io.Reader) error {
	times := map[string]time.Time{} // of directories: what is written into them changes these
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(to, h, in, times); err != nil {
			return fmt.Errorf("tar entry %q: %w", h.Name, err)
		}
	}
	for name, t := range times {
		root, name := to.find(name)
		if err := root.Chtimes(name, t, t); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func unpackEntry(to *tree, h *tar.Header, content io.Reader, times map[string]time.Time) error {
	root, name := to.find(h.Name)
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	old, err := root.Lstat(name)
	isDir := err == nil && old.IsDir()
	switch {
	case isDir && h.Typeflag != tar.TypeDir:
		return syscall.EISDIR
	case err == nil && !isDir && h.Typeflag != tar.TypeLink || err == nil && !isDir && path.Clean(h.Linkname) != path.Clean(h.Name):
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !isDir {
			err = root.Mkdir(name, 0o755)
		} else {
			err = nil
		}
		times[h.Name] = h.ModTime
	case tar.TypeSymlink:
		err = root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		other, target := to.find(h.Linkname)
		if other != root {
			return syscall.EXDEV
		}
		return root.Link(target, name)
	case tar.TypeReg:
		err = writeFile(root, name, content)
	default:
		return nil // devices of an image: the container gets its own
	}
	if err != nil {
		return err
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil || h.Typeflag == tar.TypeSymlink {
		return err
	}
	if err := root.Chmod(name, h.FileInfo().Mode()&^fs.ModeType); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

func writeFile(root *os.Root, name string, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// pack writes a file, or a directory with all that is below it, as a tar stream under the name that is given.
func pack(w io.Writer, files *tree, from, as string) error {
	if as == "/" {
		as = "."
	}
	p := &packer{out: tar.NewWriter(w), files: files, links: map[[2]uint64]string{}}
	if err := p.add(from, as); err != nil {
		return err
	}
	return p.out.Close()
}

type packer struct {
	out   *tar.Writer
	files *tree
	links map[[2]uint64]string // the first name of a file with several, by device and inode
}

func (p *packer) add(from, as string) error {
	root, name := p.files.find(from)
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		return nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = root.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Format, h.Uname, h.Gname = as, tar.FormatPAX, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 && info.Mode().IsRegular() {
		file := [2]uint64{st.Dev, st.Ino}
		if first, again := p.links[file]; again {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.out.WriteHeader(h)
		}
		p.links[file] = as
	}
	switch {
	case info.IsDir():
		return p.addDir(h, from, as)
	case info.Mode().IsRegular():
		return p.addFile(h, from)
	}
	return p.out.WriteHeader(h)
}

func (p *packer) addDir(h *tar.Header, from, as string) error {
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	root, name := p.files.find(from)
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := p.add(from+"/"+name, path.Join(as, name)); err != nil && !errors.Is(err, os.ErrNotExist) { // removed meanwhile
			return err
		}
	}
	return nil
}

// addFile writes as much as the header says, also where the file changes meanwhile.
func (p *packer) addFile(h *tar.Header, from string) error {
	root, name := p.files.find(from)
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.out, f, h.Size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: became shorter while it was read", from)
	}
	return err
}
