package driver

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func stream(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, "text")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func reg(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
}

func TestSafeTarRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		stream  []tar.Header
		outside bool // refused also with outsideLinks
	}{
		"dotdot":              {[]tar.Header{reg("../x")}, true},
		"dotdot alone":        {[]tar.Header{{Name: "..", Typeflag: tar.TypeDir}}, true},
		"dotdot inside":       {[]tar.Header{reg("a/../../x")}, true},
		"absolute":            {[]tar.Header{reg("/x")}, true},
		"symlink out":         {[]tar.Header{link("a/b", "../../x")}, false},
		"symlink absolute":    {[]tar.Header{link("a", "/etc/passwd")}, false},
		"symlink to parent":   {[]tar.Header{link("a", "..")}, false},
		"hard link out":       {[]tar.Header{hard("a", "../x")}, true},
		"hard link absolute":  {[]tar.Header{hard("a", "/x")}, true},
		"below a link":        {[]tar.Header{link("a", "."), reg("a/x")}, true},
		"deep below a link":   {[]tar.Header{link("a", "b"), reg("a/b/c/x")}, true},
		"below an odd link":   {[]tar.Header{link("./d//a", "."), reg("d/a/x")}, true},
		"hard link to a link": {[]tar.Header{link("a", "b"), hard("c", "a")}, true},
		"hard link below one": {[]tar.Header{link("a", "b"), hard("c", "./a/x")}, true},
		"device":              {[]tar.Header{{Name: "a", Typeflag: tar.TypeChar}}, true},
		"block device":        {[]tar.Header{{Name: "a", Typeflag: tar.TypeBlock}}, true},
		"fifo":                {[]tar.Header{{Name: "a", Typeflag: tar.TypeFifo}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, outside := range []bool{false, true} {
				r := SafeTar(bytes.NewReader(stream(t, c.stream...)), outside)
				_, err := io.Copy(io.Discard, r)
				r.Close()
				if want := !outside || c.outside; want != errors.Is(err, errdefs.ErrInvalidArgument) {
					t.Errorf("with outsideLinks %t: %v; want refused: %t", outside, err, want)
				}
			}
		})
	}
}

func TestSafeTarKeeps(t *testing.T) {
	stamp := time.Unix(1234567890, 123456789)
	in := []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/./b/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 1, Gid: 2, ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/b/file", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1 << 22, ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/" + strings.Repeat("long", 60) + "-größe", Typeflag: tar.TypeReg, Mode: 0o600, ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/link", Typeflag: tar.TypeSymlink, Linkname: "../a/b/file", ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "./a/b/file", ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/link", Typeflag: tar.TypeReg, ModTime: stamp, Format: tar.FormatPAX},
		{Name: "a/attr", Typeflag: tar.TypeReg, ModTime: stamp, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
	}
	r := SafeTar(bytes.NewReader(stream(t, in...)), false)
	defer r.Close()
	var got []tar.Header
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, *h)
	}
	if len(got) != len(in) {
		t.Fatalf("%d entries; want %d", len(got), len(in))
	}
	in[5].Mode, in[5].Uid = in[2].Mode, in[2].Uid // one file, so one mode and owner
	names := []string{"./", "a/b/", "a/b/file", in[3].Name, "a/link", "a/hard", "a/link", "a/attr"}
	for i, h := range got {
		type kept struct {
			Name, Link    string
			Mode          int64
			Uid, Gid      int
			Time          time.Time
			Type          byte
			ExtendedValue string
		}
		want := kept{names[i], path.Clean(in[i].Linkname), in[i].Mode, in[i].Uid, in[i].Gid, stamp, in[i].Typeflag, in[i].PAXRecords["SCHILY.xattr.user.x"]}
		have := kept{h.Name, path.Clean(h.Linkname), h.Mode, h.Uid, h.Gid, h.ModTime, h.Typeflag, h.PAXRecords["SCHILY.xattr.user.x"]}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("entry %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestSafeTarBroken(t *testing.T) {
	whole := stream(t, reg("a"), reg("b"))
	for name, in := range map[string][]byte{
		"text": []byte(strings.Repeat("this is no tar stream ", 100)), "cut in a header": whole[:1100], "cut in content": whole[:514],
	} {
		r := SafeTar(bytes.NewReader(in), false)
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v; want InvalidArgument", name, err)
		}
		r.Close()
	}
}

// TestSafeTarClose closes while the stream is still being made: the goroutine inside must end.
func TestSafeTarClose(t *testing.T) {
	pr, pw := io.Pipe()
	r := SafeTar(pr, false)
	go pw.Write(stream(t, reg("a"), reg("b")))
	if _, err := io.ReadFull(r, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Read after Close: %v", err)
	}
}

// FuzzSafeTar wants that nothing panics, and that what comes out is harmless by a check of its own.
func FuzzSafeTar(f *testing.F) {
	f.Add(stream(f, reg("a"), reg("b/c")), false)
	f.Add(stream(f, link("a", "b"), reg("b")), true)
	f.Add(stream(f, link("a", "../.."), reg("a/x")), true)
	f.Add(stream(f, hard("a", "../x")), false)
	f.Add(stream(f, reg("../x")), false)
	f.Add([]byte("no tar"), false)
	f.Fuzz(func(t *testing.T, in []byte, outside bool) {
		r := SafeTar(bytes.NewReader(in), outside)
		defer r.Close()
		links := map[string]bool{}
		for tr := tar.NewReader(io.LimitReader(r, 1<<24)); ; {
			h, err := tr.Next()
			if err != nil {
				return
			}
			harmless(t, h, links, outside)
		}
	})
}

// harmless follows a name as a file system would.
func harmless(t *testing.T, h *tar.Header, links map[string]bool, outside bool) {
	depth, at := 0, ""
	parts := strings.Split(strings.TrimSuffix(h.Name, "/"), "/")
	if path.IsAbs(h.Name) {
		t.Fatalf("absolute name %q", h.Name)
	}
	for i, part := range parts {
		switch part {
		case "", ".":
		case "..":
			t.Fatalf("name %q", h.Name)
		default:
			depth++
			at = path.Join(at, part)
			if i < len(parts)-1 && links[at] {
				t.Fatalf("%q is below the link %q", h.Name, at)
			}
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		delete(links, at)
	case tar.TypeLink:
		if path.IsAbs(h.Linkname) || !within(h.Linkname, 0) {
			t.Fatalf("hard link %q to %q", h.Name, h.Linkname)
		}
		for dir := path.Clean(h.Linkname); dir != "."; dir = path.Dir(dir) {
			if links[dir] {
				t.Fatalf("hard link %q to, or below, the symbolic link %q", h.Name, dir)
			}
		}
		delete(links, at)
	case tar.TypeSymlink:
		if !outside && (path.IsAbs(h.Linkname) || !within(h.Linkname, depth-1)) {
			t.Fatalf("symbolic link %q to %q", h.Name, h.Linkname)
		}
		links[at] = true
	default:
		t.Fatalf("%q is of type %q", h.Name, h.Typeflag)
	}
}

// within reports whether a relative path, from a directory of that depth, stays in the tree.
func within(target string, depth int) bool {
	for part := range strings.SplitSeq(path.Clean(target), "/") {
		switch part {
		case "..":
			depth--
		case ".", "":
		default:
			depth++
		}
		if depth < 0 {
			return false
		}
	}
	return true
}
