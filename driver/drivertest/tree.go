package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

// stamp is the modification time of the files of a sample.
var stamp = time.Unix(1_234_567_890, 0)

// sample is a directory with one of everything that a copy must keep, below a directory of that name.
func sample(name string) []file {
	entries := []file{
		{tar.Header{Name: name + "/", Mode: 0o750, Uid: 1000, Gid: 1001}, ""},
		{tar.Header{Name: name + "/file", Mode: 0o640, Uid: 1002, Gid: 1003}, "content\n"},
		{tar.Header{Name: name + "/empty", Mode: 0o600}, ""},
		{tar.Header{Name: name + "/program", Mode: 0o755}, "#!"},
		{tar.Header{Name: name + "/set-uid", Mode: 0o4755}, "x"},
		{tar.Header{Name: name + "/read-only", Mode: 0o444}, "x"},
		{tar.Header{Name: name + "/no-mode", Mode: 0}, "x"},
		{tar.Header{Name: name + "/sticky/", Mode: 0o1777}, ""},
		{tar.Header{Name: name + "/sticky/deep/", Mode: 0o700}, ""},
		{tar.Header{Name: name + "/sticky/deep/file", Mode: 0o644}, "deep"},
		{tar.Header{Name: name + "/with space  and 'quotes\"", Mode: 0o644}, "x"},
		{tar.Header{Name: name + "/größe-☃-日本", Mode: 0o644}, "x"},
		{tar.Header{Name: name + "/" + strings.Repeat("long", 50), Mode: 0o644}, "x"},
		{tar.Header{Name: name + "/.hidden", Mode: 0o644}, "x"},
		{tar.Header{Name: name + "/link", Typeflag: tar.TypeSymlink, Linkname: "sticky/deep/file", Mode: 0o777}, ""},
		{tar.Header{Name: name + "/dangling", Typeflag: tar.TypeSymlink, Linkname: "no such file", Mode: 0o777, Uid: 7, Gid: 8}, ""},
		{tar.Header{Name: name + "/hard", Typeflag: tar.TypeLink, Linkname: name + "/file"}, ""},
	}
	for i := range entries {
		entries[i].ModTime = stamp
	}
	return entries
}

// made is the same sample as verbs of the test program, which make it at a path.
func made(at string) []string {
	var args []string
	add := func(words ...string) {
		if args != nil {
			args = append(args, testprog.Separator)
		}
		args = append(args, words...)
	}
	entries := sample(".")
	for _, f := range entries {
		p := path.Join(at, f.Name)
		switch {
		case f.Typeflag == tar.TypeSymlink:
			add("symlink", f.Linkname, p)
		case f.Typeflag == tar.TypeLink:
			add("link", path.Join(at, f.Linkname), p)
		case strings.HasSuffix(f.Name, "/"):
			add("mkdir", p, "0o755")
		default:
			add("put", p, f.content)
		}
	}
	for _, f := range slices.Backward(entries) { // what is inside first: it changes the times of what is around
		p := path.Join(at, f.Name)
		if f.Typeflag == tar.TypeLink {
			continue
		}
		add("chown", p, fmt.Sprint(f.Uid), fmt.Sprint(f.Gid))
		if f.Typeflag != tar.TypeSymlink {
			add("chmod", p, fmt.Sprintf("0o%o", f.Mode))
			add("touch", p, fmt.Sprint(stamp.Unix()))
		}
	}
	return args
}

// described is what tells two trees apart: a line for each file, as [testprog.Describe] has it, sorted. The
// times of symbolic links are left out: not every runtime can set them.
func described(files []file) []string {
	links, first := map[string]int{}, map[string]file{}
	names := map[string]string{}
	base := strings.TrimSuffix(files[0].Name, "/")
	clean := func(name string) string { return path.Join(".", strings.TrimPrefix(path.Clean(name), base)) }
	for _, f := range files {
		name := clean(f.Name)
		origin := name
		if f.Typeflag == tar.TypeLink {
			origin = names[clean(f.Linkname)]
		} else {
			first[name] = f
		}
		names[name] = origin
		links[origin]++
	}
	var lines []string
	for name, origin := range names {
		f := first[origin]
		kind, size, n, mtime := "file", int64(len(f.content)), links[origin], f.ModTime.UnixNano()
		mode := f.Mode & 0o7777
		switch {
		case f.Typeflag == tar.TypeSymlink:
			kind, size, mtime, mode = "symlink", 0, 0, 0o777
		case strings.HasSuffix(f.Name, "/"):
			kind, size, n = "dir", 0, 0
		}
		target := ""
		if kind == "symlink" {
			target = f.Linkname
		}
		lines = append(lines, fmt.Sprintf("%q %s %04o %d:%d %d %d %d %q", strings.TrimPrefix(name, "/"), kind, mode, f.Uid, f.Gid, size, n, mtime, target))
	}
	slices.Sort(lines)
	return lines
}

// withoutLinkTimes takes the times of symbolic links out of what the verb "tree" prints, and sorts it.
func withoutLinkTimes(lines []string) []string {
	out := slices.Clone(lines)
	for i, l := range out {
		var name, kind, mode, owner, size, links, mtime, target string
		if n, _ := fmt.Sscanf(l, "%q %s %s %s %s %s %s %q", &name, &kind, &mode, &owner, &size, &links, &mtime, &target); n == 8 && kind == "symlink" {
			out[i] = fmt.Sprintf("%q %s %s %s %s %s 0 %q", name, kind, mode, owner, size, links, target)
		}
	}
	slices.Sort(out)
	return out
}

// wantTree fails the case unless the lines that the verb "tree" printed describe the files.
func (e *Env) wantTree(lines []string, files []file) {
	if diff := cmp.Diff(described(files), withoutLinkTimes(lines)); diff != "" {
		e.Errorf("the files differ (-want +got):\n%s", diff)
	}
}

// readTar reads a stream to its end. The content of files is kept.
func readTar(r io.Reader) ([]file, error) {
	var files []file
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, in); err != nil {
			return files, err
		}
		files = append(files, file{*h, content.String()})
	}
}

// copyOut returns the files at a path, or ends the case.
func (e *Env) copyOut(place driver.Place, p string) []file {
	r, err := e.d.CopyOut(e.ctx, driver.CopyOutOptions{Place: place, Path: p})
	e.must("CopyOut "+p, err)
	files, err := readTar(r)
	e.must("read what CopyOut returned", err)
	e.must("close what CopyOut returned", r.Close())
	if len(files) == 0 {
		e.Fatalf("CopyOut %s returned an empty stream", p)
	}
	return files
}

// wantCopy fails the case unless a copy of a directory, or of a file, is as wanted, and its first entry has
// the last element of the path as its name.
func (e *Env) wantCopy(got, want []file) {
	if name := path.Clean(got[0].Name); name != path.Clean(want[0].Name) {
		e.Errorf("the first entry is %q; want %q", got[0].Name, want[0].Name)
	}
	if diff := cmp.Diff(described(want), described(got)); diff != "" {
		e.Errorf("the copy differs (-want +got):\n%s", diff)
	}
	contents := func(files []file) map[string]string {
		m := map[string]string{}
		for _, f := range files {
			m[path.Clean(f.Name)] = f.content
		}
		return m
	}
	if diff := cmp.Diff(contents(want), contents(got)); diff != "" {
		e.Errorf("the contents differ (-want +got):\n%s", diff)
	}
}

// absent fails the case unless nothing is at the path.
func (e *Env) absent(place driver.Place, p string, class error) {
	r, err := e.d.CopyOut(e.ctx, driver.CopyOutOptions{Place: place, Path: p})
	if err == nil {
		r.Close()
	}
	e.wantError("CopyOut "+p, err, class)
}
