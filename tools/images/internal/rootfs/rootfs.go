// Package rootfs puts together the files of an image from those of packages, and takes of them what some programs need.
package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Entry is a file, or a symbolic link if Link is not empty.
type Entry struct {
	Link    string
	Mode    int64 // permission bits
	Content []byte
	Owner   string // the package that it is from
}

// Tree holds files and links by their paths, without the slash in front. Directories are there if something is in them. Where Debian has, or
// had, both /lib and /usr/lib, a tree has /usr/lib alone, and the same for bin, sbin and lib64.
type Tree map[string]Entry

// Merged are the directories that are links into usr.
var Merged = []string{"bin", "lib", "lib64", "sbin"}

// clean returns the path as a key of a tree.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if top, _, _ := strings.Cut(name, "/"); slices.Contains(Merged, top) {
		return "usr/" + name
	}
	return name
}

// Add takes an entry of a package's tar into the tree. A hard link becomes a symbolic one; permission bits beside 0777 are lost.
func (t Tree) Add(owner string, h *tar.Header, r io.Reader) error {
	if slices.Contains(Merged, path.Clean(h.Name)) {
		return nil
	}
	name := clean(h.Name)
	e := Entry{Owner: owner, Mode: h.Mode & 0o777}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		e.Link = h.Linkname
	case tar.TypeLink:
		e.Link = "/" + clean(h.Linkname)
	case tar.TypeReg:
		var err error
		if e.Content, err = io.ReadAll(r); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s: an entry of type %q", h.Name, h.Typeflag)
	}
	if old, ok := t[name]; ok && (old.Link != e.Link || string(old.Content) != string(e.Content)) {
		return fmt.Errorf("%s is in %s and in %s", name, old.Owner, owner)
	}
	t[name] = e
	return nil
}

// follow goes from a path along links, and returns those and the file that they lead to.
func (t Tree) follow(name string) ([]string, error) {
	var passed []string
	for name = clean(name); len(passed) < 40; {
		if e, ok := t[name]; ok && e.Link == "" {
			return append(passed, name), nil
		}
		link := name
		for ; link != "."; link = path.Dir(link) {
			if t[link].Link != "" {
				break
			}
		}
		if link == "." {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		passed = append(passed, link)
		to := t[link].Link
		if !path.IsAbs(to) {
			to = path.Join("/", path.Dir(link), to)
		}
		name = clean(to + strings.TrimPrefix(name, link))
	}
	return nil, fmt.Errorf("%s: too many links", name)
}

// Read returns the content of a file, along links.
func (t Tree) Read(name string) ([]byte, error) {
	passed, err := t.follow(name)
	if err != nil {
		return nil, err
	}
	return t[passed[len(passed)-1]].Content, nil
}

// Pick returns the files that the patterns of [path.Match] name, with all that programs among them need: the files that links lead to, the loader, and
// libraries. A pattern that names nothing is an error, and so is a library that is not there or for another machine.
func (t Tree) Pick(arch string, patterns ...string) (Tree, error) {
	var errs []error
	p := picker{from: t, to: Tree{}, arch: arch}
	names := slices.Sorted(maps.Keys(t))
	for _, pattern := range patterns {
		found := 0
		for _, name := range names {
			if ok, err := path.Match(pattern, name); err != nil {
				return nil, err
			} else if ok {
				found++
				errs = append(errs, p.take(name, "")...)
			}
		}
		if found == 0 {
			errs = append(errs, fmt.Errorf("%s: no package has such a file", pattern))
		}
	}
	return p.to, errors.Join(errs...)
}

// Owners returns the packages that the tree has files from, in order.
func (t Tree) Owners() []string {
	seen := map[string]bool{}
	for _, e := range t {
		seen[e.Owner] = true
	}
	return slices.Sorted(maps.Keys(seen))
}
