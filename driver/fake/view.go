package fake

import (
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// view is what a container sees: its root and the volumes mounted in it.
type view struct {
	disk     *disk
	root     *node
	readOnly bool
	mounts   []mount
}

type mount struct {
	path     string
	root     *node
	readOnly bool
}

// place is where a path leads.
type place struct {
	path   string // without symbolic links
	parent *node  // nil for the root
	name   string
	node   *node // nil if there is nothing yet
}

func (v *view) mounted(p string) *mount {
	for i := range v.mounts {
		if v.mounts[i].path == p {
			return &v.mounts[i]
		}
	}
	return nil
}

// child returns what is at p, which is name in dir.
func (v *view) child(dir *node, name, p string) *node {
	if m := v.mounted(p); m != nil {
		return m.root
	}
	return dir.children[name]
}

// writable returns EROFS for a path on a read-only mount.
func (v *view) writable(p string) error {
	readOnly, best := v.readOnly, 0
	for _, m := range v.mounts {
		if len(m.path) > best && (p == m.path || strings.HasPrefix(p, m.path+"/")) {
			readOnly, best = m.readOnly, len(m.path)
		}
	}
	if readOnly {
		return syscall.EROFS
	}
	return nil
}

// find follows an absolute path; follow says whether also a symbolic link at its end. A last element that
// does not exist is no error. The disk's lock is held.
func (v *view) find(p string, follow bool, c *cred) (place, error) {
	stack := []place{{path: "/", node: v.root}}
	rest, hops := elements(p), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		top := stack[len(stack)-1]
		if name == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		if !top.node.mode.IsDir() {
			return place{}, syscall.ENOTDIR
		}
		if !c.may(top.node, 1) {
			return place{}, syscall.EACCES
		}
		next := place{path: path.Join(top.path, name), parent: top.node, name: name}
		next.node = v.child(top.node, name, next.path)
		switch {
		case next.node == nil && len(rest) > 0:
			return place{}, syscall.ENOENT
		case next.node == nil:
			return next, nil
		case next.node.mode.Type() == fs.ModeSymlink && (follow || len(rest) > 0):
			if hops++; hops > 40 {
				return place{}, syscall.ELOOP
			}
			rest = append(elements(next.node.target), rest...)
			if path.IsAbs(next.node.target) {
				stack = stack[:1]
			}
			continue
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

func elements(p string) []string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// existing is find for a path that must exist.
func (v *view) existing(p string, follow bool, c *cred) (place, error) {
	at, err := v.find(p, follow, c)
	if err == nil && at.node == nil {
		err = syscall.ENOENT
	}
	return at, err
}

// put makes n appear at a place that is empty. The disk's lock is held.
func (v *view) put(at place, n *node, c *cred) error {
	if err := v.writable(at.path); err != nil {
		return err
	}
	if !c.may(at.parent, 3) {
		return syscall.EACCES
	}
	at.parent.children[at.name] = n
	at.parent.mtime = v.disk.now()
	v.disk.touch()
	return nil
}

// add makes a new node at a path where nothing is.
func (v *view) add(p string, mode fs.FileMode, c *cred) (*node, error) {
	at, err := v.find(p, false, c)
	if err != nil {
		return nil, err
	}
	if at.node != nil {
		return nil, syscall.EEXIST
	}
	n := v.disk.node(mode, c)
	return n, v.put(at, n, c)
}

// mkdirAll makes a directory and those above it, as the runtime does; existing ones stay.
func (v *view) mkdirAll(p string, mode fs.FileMode) (place, error) {
	at := place{path: "/", node: v.root}
	dir := ""
	for _, name := range elements(p) {
		dir += "/" + name
		var err error
		if at, err = v.find(dir, true, root); err != nil {
			return at, err
		}
		if at.node == nil {
			at.node = v.disk.node(fs.ModeDir|mode, root)
			if err := v.put(at, at.node, root); err != nil {
				return at, err
			}
		}
		if !at.node.mode.IsDir() {
			return at, syscall.ENOTDIR
		}
		dir = strings.TrimSuffix(at.path, "/")
	}
	return at, nil
}

// create makes or truncates a file.
func (v *view) create(p string, perm fs.FileMode, c *cred) (*node, error) {
	at, err := v.find(p, true, c)
	if err != nil {
		return nil, err
	}
	if at.node == nil {
		n := v.disk.node(perm.Perm(), c)
		return n, v.put(at, n, c)
	}
	switch {
	case at.node.mode.IsDir():
		return nil, syscall.EISDIR
	case v.writable(at.path) != nil:
		return nil, syscall.EROFS
	case !c.may(at.node, 2):
		return nil, syscall.EACCES
	}
	at.node.data = blob{}
	at.node.mtime = v.disk.now()
	return at.node, nil
}

// remove deletes a file or an empty directory.
func (v *view) remove(p string, c *cred) error {
	at, err := v.existing(p, false, c)
	if err != nil {
		return err
	}
	switch {
	case at.parent == nil || v.mounted(at.path) != nil:
		return syscall.EBUSY
	case len(at.node.children) > 0:
		return syscall.ENOTEMPTY
	case v.writable(at.path) != nil:
		return syscall.EROFS
	case !c.may(at.parent, 3), at.parent.mode&fs.ModeSticky != 0 && c.owns(at.node) != nil && c.owns(at.parent) != nil:
		return syscall.EACCES
	}
	delete(at.parent.children, at.name)
	at.node.links--
	at.parent.mtime = v.disk.now()
	v.disk.touch()
	return nil
}
