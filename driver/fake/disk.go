package fake

import (
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"
)

// disk holds the files of a runtime. One lock guards all of them.
type disk struct {
	mu      sync.Mutex
	inodes  uint64
	changed chan struct{} // closed at the next change; nil if nobody waits
	now     func() time.Time
}

// node is a file of any type.
type node struct {
	number   uint64
	mode     fs.FileMode
	uid, gid int
	mtime    time.Time
	links    int
	data     blob
	target   string
	children map[string]*node
}

func (d *disk) node(mode fs.FileMode, c *cred) *node {
	d.inodes++
	n := &node{number: d.inodes, mode: mode, uid: c.uid, gid: c.gid, mtime: d.now(), links: 1}
	if mode.IsDir() {
		n.children = map[string]*node{}
	}
	return n
}

// dir returns an empty directory of root's.
func (d *disk) dir(mode fs.FileMode) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node(fs.ModeDir|mode, root)
}

// clone copies a tree; content is shared until it is written.
func (d *disk) clone(n *node) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cloneNode(n, map[*node]*node{})
}

func (d *disk) cloneNode(n *node, done map[*node]*node) *node {
	if c := done[n]; c != nil {
		return c
	}
	c := *n
	d.inodes++
	c.number = d.inodes
	c.data = n.data.snapshot()
	done[n] = &c
	if n.children != nil {
		c.children = make(map[string]*node, len(n.children))
		for name, child := range n.children {
			c.children[name] = d.cloneNode(child, done)
		}
	}
	return &c
}

// touch tells whoever waits for a change. The lock is held.
func (d *disk) touch() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// watch returns a channel that the next change closes. The lock is held.
func (d *disk) watch() <-chan struct{} {
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

// used is the size of all files in a tree.
func (d *disk) used(n *node) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return usedBy(n, map[*node]bool{})
}

func usedBy(n *node, seen map[*node]bool) int64 {
	if seen[n] {
		return 0
	}
	seen[n] = true
	sum := n.data.size
	for _, child := range n.children {
		sum += usedBy(child, seen)
	}
	return sum
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// cred is who acts on files.
type cred struct {
	uid, gid int
	groups   []int
	super    bool // permissions do not matter
}

var root = &cred{super: true}

// may reports whether c has the permission bits (4 read, 2 write, 1 search) on n.
func (c *cred) may(n *node, bits fs.FileMode) bool {
	switch {
	case c.super:
		return true
	case n.uid == c.uid:
		bits <<= 6
	case n.gid == c.gid || slices.Contains(c.groups, n.gid):
		bits <<= 3
	}
	return n.mode&bits == bits
}

// owns reports whether c may change n's mode and times.
func (c *cred) owns(n *node) error {
	if c.super || n.uid == c.uid {
		return nil
	}
	return syscall.EPERM
}

// piece is the size of the parts that files are stored in.
const piece = 256 << 10

// blob is a file's content. It only grows, so that a snapshot can be read without the lock.
type blob struct {
	pieces [][]byte
	size   int64
}

func (b *blob) write(p []byte) {
	b.size += int64(len(p))
	for len(p) > 0 {
		last := len(b.pieces) - 1
		if last < 0 || len(b.pieces[last]) >= piece {
			b.pieces = append(b.pieces, nil)
			last++
		}
		n := min(len(p), piece-len(b.pieces[last]))
		b.pieces[last] = append(b.pieces[last], p[:n]...)
		p = p[n:]
	}
}

// snapshot returns a copy that does not change, and may be written without changing b.
func (b *blob) snapshot() blob {
	pieces := slices.Clone(b.pieces)
	for i, p := range pieces {
		pieces[i] = slices.Clip(p)
	}
	return blob{pieces: pieces, size: b.size}
}

// at returns what is stored from an offset on, up to the end of a piece; nothing at the end.
func (b *blob) at(off int64) []byte {
	if off >= b.size {
		return nil
	}
	return b.pieces[off/piece][off%piece:]
}
