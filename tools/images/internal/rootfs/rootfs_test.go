package rootfs

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// program returns a file as the linker makes them, but without code: one that needs an interpreter, unless that is empty, and libraries, which it looks for
// in the run path too.
func program(t *testing.T, m elf.Machine, interpreter, runpath string, libraries ...string) []byte {
	t.Helper()
	names := "\x00"
	var dynamic []elf.Dyn64
	text := func(tag elf.DynTag, s string) {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(tag), Val: uint64(len(names))})
		names += s + "\x00"
	}
	for _, l := range libraries {
		text(elf.DT_NEEDED, l)
	}
	if runpath != "" {
		text(elf.DT_RUNPATH, runpath)
	}
	dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NULL)})
	const header, segment = 64, 56
	loader := uint64(len(interpreter))
	atNames := header + segment + loader
	atDynamic := atNames + uint64(len(names))
	size := uint64(binary.Size(dynamic))
	var out bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(m), Version: 1, Phoff: header, Shoff: atDynamic + size,
		Ehsize: header, Phentsize: segment, Phnum: 1, Shentsize: 64, Shnum: 3, Shstrndx: 1,
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: header + segment, Filesz: loader}
	if interpreter == "" {
		p.Type = uint32(elf.PT_NULL)
	}
	sections := []elf.Section64{
		{},
		{Type: uint32(elf.SHT_STRTAB), Off: atNames, Size: uint64(len(names))},
		{Type: uint32(elf.SHT_DYNAMIC), Off: atDynamic, Size: size, Link: 1, Entsize: 16},
	}
	for _, part := range []any{h, p, []byte(interpreter), []byte(names), dynamic, sections} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func file(content string) Entry { return Entry{Content: []byte(content), Mode: 0o644} }

func names(t Tree) []string { return slices.Sorted(maps.Keys(t)) }

func TestPickTakesWhatProgramsNeed(t *testing.T) {
	const dir = "usr/lib/aarch64-linux-gnu/"
	arm := func(interpreter, runpath string, libraries ...string) Entry {
		return Entry{Content: program(t, elf.EM_AARCH64, interpreter, runpath, libraries...), Mode: 0o755}
	}
	all := Tree{
		"usr/bin/tool":                  arm("/lib/ld-linux-aarch64.so.1\x00", "$ORIGIN/../lib/tool:", "libone.so.1", "libtool.so"),
		"usr/lib/ld-linux-aarch64.so.1": {Link: "aarch64-linux-gnu/ld.so"},
		dir + "ld.so":                   arm("", ""),
		dir + "libone.so.1":             {Link: "libone.so.1.0"},
		dir + "libone.so.1.0":           arm("", "", "libtwo.so"),
		dir + "libtwo.so":               arm("", "", "libone.so.1"), // needs the one that needs it
		dir + "libother.so":             arm("", ""),
		"usr/lib/tool/libtool.so":       arm("", ""),
		"usr/bin/other":                 arm("", "", "libother.so"),
		"usr/share/tool/text":           file("text"),
	}
	got, err := all.Pick("arm64", "usr/bin/tool", "usr/share/*/text")
	if err != nil {
		t.Fatal(err)
	}
	want := names(all)
	want = slices.DeleteFunc(want, func(n string) bool { return strings.Contains(n, "other") })
	if diff := cmp.Diff(want, names(got)); diff != "" {
		t.Error(diff)
	}
}

func TestPickRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		tree    Tree
		pattern string
		want    string
	}{
		"a missing library": {
			Tree{"usr/bin/tool": {Content: program(t, elf.EM_X86_64, "", "", "libgone.so.1")}},
			"usr/bin/tool", "usr/bin/tool needs it: usr/lib/x86_64-linux-gnu/libgone.so.1: file does not exist",
		},
		"a missing loader": {
			Tree{"usr/bin/tool": {Content: program(t, elf.EM_X86_64, "/lib64/ld.so\x00", "")}}, "usr/bin/tool", "usr/lib64/ld.so: file does not exist",
		},
		"another machine": {
			Tree{"usr/bin/tool": {Content: program(t, elf.EM_AARCH64, "", "")}}, "usr/bin/tool", "is a program for EM_AARCH64, not for amd64",
		},
		"a broken program": {Tree{"usr/bin/tool": file(elf.ELFMAG)}, "usr/bin/tool", "usr/bin/tool: "},
		"no such file":     {Tree{}, "usr/bin/*", "usr/bin/*: no package has such a file"},
		"a link to nowhere": {
			Tree{"usr/bin/tool": {Link: "gone"}}, "usr/bin/tool", "usr/bin/gone: file does not exist",
		},
		"links in a ring": {
			Tree{"a": {Link: "b"}, "b": {Link: "/a"}}, "a", "too many links",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.tree.Pick("amd64", c.pattern); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	got := Tree{}
	for _, h := range []tar.Header{
		{Name: "./lib64/", Typeflag: tar.TypeDir},
		{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"},
		{Name: "./bin/tool", Typeflag: tar.TypeReg, Mode: 0o4755},
		{Name: "./usr/bin/again", Typeflag: tar.TypeLink, Linkname: "./bin/tool"},
		{Name: "./usr/share/doc/tool", Typeflag: tar.TypeSymlink, Linkname: "../other"},
	} {
		if err := got.Add("tool", &h, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	want := Tree{
		"usr/bin/tool":       {Mode: 0o755, Content: []byte{}, Owner: "tool"},
		"usr/bin/again":      {Link: "/usr/bin/tool", Owner: "tool"},
		"usr/share/doc/tool": {Link: "../other", Owner: "tool"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	clash := tar.Header{Name: "usr/bin/tool", Typeflag: tar.TypeReg}
	if err := got.Add("thief", &clash, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "tool and in thief") {
		t.Errorf("a file of two packages: %v", err)
	}
	device := tar.Header{Name: "dev/null", Typeflag: tar.TypeChar}
	if err := got.Add("tool", &device, nil); err == nil {
		t.Error("a device is accepted")
	}
}

func TestReadFollowsLinks(t *testing.T) {
	tree := Tree{"usr/share/doc/libtool": {Link: "tool"}, "usr/share/doc/tool/copyright": {Link: "/usr/share/one"}, "usr/share/one": file("free")}
	got, err := tree.Read("/usr/share/doc/libtool/copyright")
	if err != nil || string(got) != "free" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := tree.Read("usr/share/doc/libtool/gone"); err == nil || !strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("%v", err)
	}
}

func TestCertificates(t *testing.T) {
	tree := Tree{
		"usr/share/ca-certificates/mozilla/b.crt": file("second"),
		"usr/share/ca-certificates/mozilla/B.crt": file("first\n"),
		"usr/share/ca-certificates/readme":        file("no"),
		"usr/share/other/c.crt":                   file("no"),
	}
	if got := string(tree.Certificates()); got != "first\nsecond\n" {
		t.Errorf("%q", got)
	}
}
