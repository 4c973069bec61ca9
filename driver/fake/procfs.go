package fake

import (
	"io"
	"io/fs"
	"path"
	"runtime"
	"syscall"
	"time"
)

// files runs f with the disk locked, and gives its error the operation and the path.
func (p *Proc) files(op, name string, f func(v *view, abs string) error) error {
	p.check()
	v := p.c.view
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	if err := f(v, p.abs(name)); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// Await blocks until the path exists.
func (p *Proc) Await(name string) error {
	for {
		var changed <-chan struct{}
		err := p.files("await", name, func(v *view, abs string) error {
			at, err := v.find(abs, false, p.cred)
			if err == nil && at.node == nil {
				changed = v.disk.watch()
			}
			return err
		})
		if err != nil || changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-p.done:
			runtime.Goexit()
		}
	}
}

// info is the state of a file at one moment.
type info struct {
	name string
	node node
}

func (i *info) Name() string { return i.name }
func (i *info) Size() int64 {
	if i.node.mode.Type() == fs.ModeSymlink {
		return int64(len(i.node.target))
	}
	return i.node.data.size
}
func (i *info) Mode() fs.FileMode  { return i.node.mode }
func (i *info) ModTime() time.Time { return i.node.mtime }
func (i *info) IsDir() bool        { return i.node.mode.IsDir() }
func (i *info) Sys() any           { return i }

// Owner returns the user and the group.
func (i *info) Owner() (uid, gid int) { return i.node.uid, i.node.gid }

// Links counts the names of the file.
func (i *info) Links() int { return i.node.links }

// Number is the inode's.
func (i *info) Number() uint64 { return i.node.number }

// Lstat describes a file. What Sys returns has the methods Owner, Links and Number.
func (p *Proc) Lstat(name string) (fs.FileInfo, error) {
	var found *info
	err := p.files("lstat", name, func(v *view, abs string) error {
		at, err := v.existing(abs, false, p.cred)
		if err == nil {
			found = &info{path.Base(name), *at.node}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Readlink returns the target of a symbolic link.
func (p *Proc) Readlink(name string) (target string, err error) {
	err = p.files("readlink", name, func(v *view, abs string) error {
		at, err := v.existing(abs, false, p.cred)
		if err != nil {
			return err
		}
		if target = at.node.target; at.node.mode.Type() != fs.ModeSymlink {
			return syscall.EINVAL
		}
		return nil
	})
	return target, err
}

// ReadDir returns the names in a directory, sorted.
func (p *Proc) ReadDir(name string) (names []string, err error) {
	err = p.files("open", name, func(v *view, abs string) error {
		at, err := v.existing(abs, true, p.cred)
		if err != nil {
			return err
		}
		if !at.node.mode.IsDir() {
			return syscall.ENOTDIR
		}
		if !p.cred.may(at.node, 4) {
			return syscall.EACCES
		}
		names = at.node.names()
		return nil
	})
	return names, err
}

// handle is an open file.
type handle struct {
	p   *Proc
	n   *node
	off int64
}

// Open opens a file for reading.
func (p *Proc) Open(name string) (io.ReadCloser, error) {
	h := &handle{p: p}
	err := p.files("open", name, func(v *view, abs string) error {
		at, err := v.existing(abs, true, p.cred)
		if err != nil {
			return err
		}
		if h.n = at.node; h.n.mode.IsDir() {
			return syscall.EISDIR
		}
		if !p.cred.may(h.n, 4) {
			return syscall.EACCES
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Create makes or truncates a file, and opens it for writing.
func (p *Proc) Create(name string, perm fs.FileMode) (io.WriteCloser, error) {
	h := &handle{p: p}
	err := p.files("open", name, func(v *view, abs string) (err error) {
		h.n, err = v.create(abs, perm, p.cred)
		return err
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (h *handle) Read(b []byte) (int, error) {
	h.p.check()
	h.p.c.view.disk.mu.Lock()
	defer h.p.c.view.disk.mu.Unlock()
	n := copy(b, h.n.data.at(h.off))
	h.off += int64(n)
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (h *handle) Write(b []byte) (int, error) {
	h.p.check()
	h.p.c.view.disk.mu.Lock()
	defer h.p.c.view.disk.mu.Unlock()
	h.n.data.write(b)
	h.n.mtime = h.p.c.view.disk.now()
	return len(b), nil
}

func (h *handle) Close() error { return nil }

// Mkdir makes a directory.
func (p *Proc) Mkdir(name string, perm fs.FileMode) error {
	return p.files("mkdir", name, func(v *view, abs string) error {
		_, err := v.add(abs, fs.ModeDir|perm.Perm(), p.cred)
		return err
	})
}

// Symlink makes a symbolic link.
func (p *Proc) Symlink(target, name string) error {
	return p.files("symlink", name, func(v *view, abs string) error {
		n, err := v.add(abs, fs.ModeSymlink|fs.ModePerm, p.cred)
		if err == nil {
			n.target = target
		}
		return err
	})
}

// Link gives a file another name.
func (p *Proc) Link(old, name string) error {
	return p.files("link", name, func(v *view, abs string) error {
		from, err := v.existing(p.abs(old), false, p.cred)
		if err != nil {
			return err
		}
		if from.node.mode.IsDir() {
			return syscall.EPERM
		}
		at, err := v.find(abs, false, p.cred)
		if err != nil {
			return err
		}
		if at.node != nil {
			return syscall.EEXIST
		}
		if err := v.put(at, from.node, p.cred); err != nil {
			return err
		}
		from.node.links++
		return nil
	})
}

// change runs f on a file that the process may change.
func (p *Proc) change(op, name string, f func(*node)) error {
	return p.files(op, name, func(v *view, abs string) error {
		at, err := v.existing(abs, op != "lchown", p.cred)
		if err != nil {
			return err
		}
		if err := v.writable(at.path); err != nil {
			return err
		}
		if err := p.cred.owns(at.node); err != nil {
			return err
		}
		f(at.node)
		v.disk.touch()
		return nil
	})
}

// Chmod sets the mode.
func (p *Proc) Chmod(name string, mode fs.FileMode) error {
	return p.change("chmod", name, func(n *node) { n.mode = n.mode.Type() | mode&^fs.ModeType })
}

// Chown sets the owner; only root may.
func (p *Proc) Chown(name string, uid, gid int) error {
	if !p.cred.super {
		return &fs.PathError{Op: "lchown", Path: name, Err: syscall.EPERM}
	}
	return p.change("lchown", name, func(n *node) { n.uid, n.gid = uid, gid })
}

// Chtimes sets the modification time.
func (p *Proc) Chtimes(name string, mtime time.Time) error {
	return p.change("chtimes", name, func(n *node) { n.mtime = mtime })
}

// Remove deletes a file or an empty directory.
func (p *Proc) Remove(name string) error {
	return p.files("remove", name, func(v *view, abs string) error { return v.remove(abs, p.cred) })
}
