package testprog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

func await(s System, args []string) (int, error) {
	for _, p := range args {
		if err := s.Await(p); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// Describe is what the verbs "stat" and "tree" print of a file: quoted path, type, octal mode, owner,
// size of a regular file, links of what is no directory, modification time in nanoseconds since 1970, quoted
// target of a symbolic link.
func Describe(name string, info fs.FileInfo, target string) string {
	node := info.Sys().(Inode)
	uid, gid := node.Owner()
	kind, size, links := "other", int64(0), node.Links()
	switch info.Mode().Type() {
	case 0:
		kind, size = "file", info.Size()
	case fs.ModeDir:
		kind, links = "dir", 0
	case fs.ModeSymlink:
		kind = "symlink"
	}
	mode := int64(info.Mode().Perm())
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if info.Mode()&bit != 0 {
			mode |= 0o1000 << i
		}
	}
	return fmt.Sprintf("%q %s %04o %d:%d %d %d %d %q", name, kind, mode, uid, gid, size, links, info.ModTime().UnixNano(), target)
}

func describe(s System, name, p string) error {
	info, err := s.Lstat(p)
	if err != nil {
		return err
	}
	var target string
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = s.Readlink(p); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(s.Stdout(), Describe(name, info, target))
	return err
}

func stat(s System, args []string) (int, error) {
	for _, p := range args {
		if err := describe(s, p, p); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// tree describes a directory and all that is in it, with names relative to it.
func tree(s System, args []string) (int, error) {
	for _, root := range args {
		if err := walk(s, root, "."); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func walk(s System, root, rel string) error {
	p := path.Join(root, rel)
	if err := describe(s, rel, p); err != nil {
		return err
	}
	if info, err := s.Lstat(p); err != nil || !info.IsDir() {
		return err
	}
	names, err := s.ReadDir(p)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := walk(s, root, path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

// cat prints each file's content as a quoted Go string.
func cat(s System, args []string) (int, error) {
	for _, p := range args {
		r, err := s.Open(p)
		if err != nil {
			return 0, err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(s.Stdout(), "%q\n", b)
	}
	return 0, nil
}

// Content is what a file of the verbs "write" and "check" holds: size bytes that depend on the
// seed and do not compress.
func Content(size int64, seed uint64) io.Reader {
	return io.LimitReader(&content{state: seed}, size)
}

type content struct {
	state uint64
	rest  []byte
	buf   [8]byte
}

func (c *content) Read(p []byte) (int, error) {
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	for ; len(p)-n >= 8; n += 8 {
		binary.LittleEndian.PutUint64(p[n:], c.next())
	}
	if n < len(p) {
		binary.LittleEndian.PutUint64(c.buf[:], c.next())
		k := copy(p[n:], c.buf[:])
		c.rest = c.buf[k:]
		n += k
	}
	return n, nil
}

// next is splitmix64.
func (c *content) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	z := c.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// SameContent reports how r differs from [Content] of that size and seed, or nil.
func SameContent(r io.Reader, size int64, seed uint64) error {
	want := Content(size, seed)
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	var at int64
	for {
		n, err := io.ReadFull(r, a)
		m, _ := io.ReadFull(want, b[:n])
		if m < n {
			return fmt.Errorf("has more than %d bytes", size)
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("differs between bytes %d and %d of %d", at, at+int64(n), size)
		}
		at += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			if at != size {
				return fmt.Errorf("has %d bytes, not %d", at, size)
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// put makes a file with the given text: PATH TEXT.
func put(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs PATH TEXT")
	}
	return 0, store(s, args[0], strings.NewReader(args[1]))
}

// write makes a file: PATH SIZE SEED.
func write(s System, args []string) (int, error) {
	if len(args) != 3 {
		return 0, fmt.Errorf("needs PATH SIZE SEED")
	}
	n, err := numbers(args[1:], 2)
	if err != nil {
		return 0, err
	}
	return 0, create(s, args[0], n[0], uint64(n[1]))
}

func create(s System, p string, size int64, seed uint64) error {
	return store(s, p, Content(size, seed))
}

func store(s System, p string, content io.Reader) error {
	w, err := s.Create(p, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(struct{ io.Writer }{w}, content)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// check verifies a file that "write" made, or a copy of it: PATH SIZE SEED.
func check(s System, args []string) (int, error) {
	if len(args) != 3 {
		return 0, fmt.Errorf("needs PATH SIZE SEED")
	}
	n, err := numbers(args[1:], 2)
	if err != nil {
		return 0, err
	}
	r, err := s.Open(args[0])
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return 0, SameContent(r, n[0], uint64(n[1]))
}

func mkdir(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs PATH MODE")
	}
	n, err := numbers(args[1:], 1)
	if err != nil {
		return 0, err
	}
	if err := s.Mkdir(args[0], fs.FileMode(n[0])); err != nil {
		return 0, err
	}
	return 0, s.Chmod(args[0], Mode(n[0])) // whatever the umask is
}

// Mode turns the twelve bits of chmod into a [fs.FileMode].
func Mode(bits int64) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if bits&(0o1000<<i) != 0 {
			m |= bit
		}
	}
	return m
}

func symlink(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs TARGET PATH")
	}
	return 0, s.Symlink(args[0], args[1])
}

func link(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs OLD NEW")
	}
	return 0, s.Link(args[0], args[1])
}

func chmod(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs PATH MODE")
	}
	n, err := numbers(args[1:], 1)
	if err != nil {
		return 0, err
	}
	return 0, s.Chmod(args[0], Mode(n[0]))
}

func chown(s System, args []string) (int, error) {
	if len(args) != 3 {
		return 0, fmt.Errorf("needs PATH UID GID")
	}
	n, err := numbers(args[1:], 2)
	if err != nil {
		return 0, err
	}
	return 0, s.Chown(args[0], int(n[0]), int(n[1]))
}

// touch sets the modification time, in seconds since 1970: PATH SECONDS.
func touch(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs PATH SECONDS")
	}
	n, err := numbers(args[1:], 1)
	if err != nil {
		return 0, err
	}
	return 0, s.Chtimes(args[0], time.Unix(n[0], 0))
}

func remove(s System, args []string) (int, error) {
	for _, p := range args {
		if err := s.Remove(p); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// ManySize is the size of file i of the verb "many".
func ManySize(i int) int64 { return int64(i % 257) }

// ManyName is the name, relative to the directory, of file i of the verb "many".
func ManyName(i int) string { return strconv.Itoa(i%100) + "/" + strconv.Itoa(i) }

// many makes N small files below an existing directory: DIR N.
func many(s System, args []string) (int, error) {
	n, err := dirAndCount(args)
	if err != nil {
		return 0, err
	}
	for i := range min(n, 100) {
		if err := s.Mkdir(path.Join(args[0], strconv.Itoa(i)), 0o755); err != nil {
			return 0, err
		}
	}
	for i := range n {
		if err := create(s, path.Join(args[0], ManyName(i)), ManySize(i), uint64(i)); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func dirAndCount(args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs DIR N")
	}
	return strconv.Atoi(args[1])
}

func checkMany(s System, args []string) (int, error) {
	n, err := dirAndCount(args)
	if err != nil {
		return 0, err
	}
	for i := range n {
		p := path.Join(args[0], ManyName(i))
		r, err := s.Open(p)
		if err != nil {
			return 0, err
		}
		err = SameContent(r, ManySize(i), uint64(i))
		r.Close()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p, err)
		}
	}
	return 0, nil
}
