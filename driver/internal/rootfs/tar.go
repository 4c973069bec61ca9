//go:build linux

// Package rootfs reads and writes files, and looks users up, in a container's own file system. That must be the root of the thread that calls, which
// keeps links from leading out.
package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDirectoryInTheWay says that an entry which is no directory has the name of a directory that is there.
var ErrDirectoryInTheWay = errors.New("a directory of that name is there already")

// Unpack writes the entries of a stream, which was checked, below dir. It reads the stream to its end.
func Unpack(dir string, r io.Reader) error {
	in := tar.NewReader(r)
	var dirs []*tar.Header // times of directories are set when nothing changes them any more
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Join(dir, h.Name)
		if err := unpackEntry(dir, name, h, in); err != nil {
			return fmt.Errorf("tar entry %q: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
	for _, h := range dirs {
		if err := setTimes(path.Join(dir, h.Name), h); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

func unpackEntry(dir, name string, h *tar.Header, content io.Reader) error {
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	old, err := os.Lstat(name)
	switch {
	case err == nil && old.IsDir() && h.Typeflag == tar.TypeDir:
		return setOwner(name, h)
	case err == nil && old.IsDir():
		return ErrDirectoryInTheWay
	case err == nil:
		if err := os.Remove(name); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = os.Mkdir(name, 0o700)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return os.Link(path.Join(dir, h.Linkname), name)
	default:
		err = writeFile(name, content)
	}
	if err == nil {
		err = setOwner(name, h)
	}
	if err != nil || h.Typeflag == tar.TypeDir {
		return err
	}
	return setTimes(name, h)
}

func writeFile(name string, content io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// setOwner sets the owner, and then the mode, which a change of owner would clear.
func setOwner(name string, h *tar.Header) error {
	if err := os.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	return unix.Chmod(name, uint32(h.Mode&0o7777))
}

func setTimes(name string, h *tar.Header) error {
	if h.ModTime.IsZero() {
		return nil
	}
	access := h.AccessTime
	if access.IsZero() {
		access = h.ModTime
	}
	times := []unix.Timespec{timespec(access), timespec(h.ModTime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the times of %s: %w", name, err)
	}
	return nil
}

func timespec(t time.Time) unix.Timespec { return unix.NsecToTimespec(t.UnixNano()) }

// Pack writes a file or directory as a tar stream, under the last element of its name. Devices, pipes and sockets are left out.
func Pack(w io.Writer, name string, info fs.FileInfo) error {
	p := &packer{out: tar.NewWriter(w), seen: map[inode]string{}}
	base := path.Base(name)
	if name == "/" {
		base = "."
	}
	if err := p.add(name, base, info); err != nil {
		return err
	}
	return p.out.Close()
}

// inode is what hard links share.
type inode struct{ dev, ino uint64 }

type packer struct {
	out  *tar.Writer
	seen map[inode]string // the name of a file with several links
}

func (p *packer) add(file, name string, info fs.FileInfo) error {
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: file, Err: err}
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return p.addDir(file, h)
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return p.out.WriteHeader(h)
	case mode.IsRegular():
		return p.addFile(file, h, st)
	}
	return nil // devices, pipes and sockets are no content
}

func (p *packer) addDir(file string, h *tar.Header) error {
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	list, err := os.ReadDir(file)
	if err != nil {
		return err
	}
	for _, e := range list {
		info, err := e.Info()
		if err == nil {
			err = p.add(path.Join(file, e.Name()), strings.TrimSuffix(name, "/")+"/"+e.Name(), info)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may go away while we look
			return err
		}
	}
	return nil
}

func (p *packer) addFile(file string, h *tar.Header, st unix.Stat_t) error {
	key := inode{st.Dev, st.Ino}
	if first, ok := p.seen[key]; ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return p.out.WriteHeader(h)
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	if st.Nlink > 1 {
		p.seen[key] = h.Name
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(p.out, f, st.Size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read: %d bytes of %d", file, n, st.Size)
	}
	return err
}
