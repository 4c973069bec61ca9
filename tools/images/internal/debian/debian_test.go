package debian

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const foreign = "arm64" // or amd64: packages without programs are the same

// repository is one of packages on this machine, which apt is told to use instead of the machine's own.
type repository struct{ dir, packages string }

func newRepository(t *testing.T, trusted bool) *repository {
	t.Helper()
	r := &repository{dir: t.TempDir()}
	how := ""
	if trusted {
		how = "[trusted=yes] "
	}
	// "copy:" makes apt fetch the packages, where "file:" would leave them in their place.
	write(t, filepath.Join(r.dir, "sources.list"), "deb "+how+"copy:"+r.dir+" ./\n")
	write(t, filepath.Join(r.dir, "apt.conf"), fmt.Sprintf("Dir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n",
		filepath.Join(r.dir, "sources.list")))
	t.Setenv("APT_CONFIG", filepath.Join(r.dir, "apt.conf"))
	return r
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// add makes a package that holds one file, and lists it in place of those that were listed before if only is set.
func (r *repository) add(t *testing.T, only bool, name, version, depends, compression string) {
	t.Helper()
	root, file := t.TempDir(), strings.ReplaceAll(name+"_"+version+".deb", ":", "-")
	about := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody <nobody@localhost>\nDescription: a test\n", name, version, foreign)
	if depends != "" {
		about += "Depends: " + depends + "\n"
	}
	write(t, filepath.Join(root, "DEBIAN/control"), about)
	write(t, filepath.Join(root, "usr/share", name), name+" "+version)
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "-Z"+compression, "--build", root, filepath.Join(r.dir, file))
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1234567890")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if only {
		r.packages = ""
	}
	r.packages += fmt.Sprintf("%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", about, file, len(content), sha256.Sum256(content))
	write(t, filepath.Join(r.dir, "Packages"), r.packages)
}

func versions(s *Set) []string {
	var all []string
	for _, p := range s.Packages {
		all = append(all, p.String())
	}
	return all
}

func TestOpen(t *testing.T) {
	r := newRepository(t, true)
	r.add(t, false, "tool", "1:1.0-1", "libtool", "xz")
	r.add(t, false, "libtool", "2.0", "", "gzip")
	r.add(t, false, "other", "1", "", "gzip")
	dir := filepath.Join(t.TempDir(), "a directory")
	first, err := Open(dir, foreign, []string{"tool"}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"libtool:arm64=2.0", "tool:arm64=1:1.0-1"}
	if diff := cmp.Diff(want, versions(first)); diff != "" {
		t.Error(diff)
	}
	for _, p := range first.Packages {
		if p.Made != 1234567890 {
			t.Errorf("%s was made at %d", p, p.Made)
		}
		var found []string
		err := first.Files(p, func(h *tar.Header, r io.Reader) error {
			text, err := io.ReadAll(r)
			if h.Typeflag == tar.TypeReg {
				found = append(found, h.Name+": "+string(text))
			}
			return err
		})
		if want := []string{"./usr/share/" + p.Name + ": " + p.Name + " " + p.Version}; err != nil || !slices.Equal(found, want) {
			t.Errorf("%s holds %q, %v; want %q", p, found, err, want)
		}
	}
	// A newer version is there: it is taken when one asks for it, and only then.
	r.add(t, true, "tool", "1:1.1-1", "", "xz")
	again, err := Open(dir, foreign, []string{"tool"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again, cmp.AllowUnexported(Set{})); diff != "" {
		t.Errorf("packages that are there are not used: %s", diff)
	}
	if again, err = Open(dir, foreign, []string{"tool"}, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tool:arm64=1:1.1-1"}, versions(again)); diff != "" {
		t.Error(diff)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, foreign, "cache/archives/*.deb")); len(left) != 1 {
		t.Errorf("files of packages: %v; want one", left)
	}
}

// TestOpenNeedsNothing: with all files there apt is not asked, and one that is missing, or other packages, are fetched.
func TestOpenNeedsNothing(t *testing.T) {
	r := newRepository(t, true)
	r.add(t, false, "tool", "1", "", "gzip")
	r.add(t, false, "other", "1", "", "gzip")
	dir := t.TempDir()
	s, err := Open(dir, foreign, []string{"tool"}, false)
	if err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(dir, foreign, []string{"tool"}, false); err != nil {
		t.Error(err)
	}
	if _, err := Open(dir, foreign, []string{"other"}, false); err == nil {
		t.Error("other packages than those that are there, without apt: no error")
	}
	t.Setenv("PATH", path)
	if err := os.Remove(s.path(s.Packages[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, foreign, []string{"tool"}, false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.path(s.Packages[0])); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("what is not signed", func(t *testing.T) {
		r := newRepository(t, false)
		r.add(t, false, "tool", "1", "", "gzip")
		if _, err := Open(t.TempDir(), foreign, []string{"tool"}, false); err == nil || !strings.Contains(err.Error(), "does not have a Release file") {
			t.Errorf("%v", err)
		}
	})
	t.Run("what is not there", func(t *testing.T) {
		r := newRepository(t, true)
		r.add(t, false, "tool", "1", "", "gzip")
		if _, err := Open(t.TempDir(), foreign, []string{"hammer"}, false); err == nil || !strings.Contains(err.Error(), "Unable to locate package hammer") {
			t.Errorf("%v", err)
		}
	})
}

func TestFilesRefusesWhatChanged(t *testing.T) {
	r := newRepository(t, true)
	r.add(t, false, "tool", "1", "", "gzip")
	s, err := Open(t.TempDir(), foreign, []string{"tool"}, false)
	if err != nil {
		t.Fatal(err)
	}
	file := s.path(s.Packages[0])
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	err = s.Files(s.Packages[0], func(*tar.Header, io.Reader) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "is not what was fetched") {
		t.Errorf("%v", err)
	}
	write(t, file, "text")
	if err := s.Files(s.Packages[0], nil); err == nil || !strings.Contains(err.Error(), "is no package") {
		t.Errorf("%v", err)
	}
}

func TestPlanned(t *testing.T) {
	got, err := planned(`Reading package lists...
The following NEW packages will be installed:
  libc6 git
Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst git (1:2.39.5-0+deb12u3 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) [x:amd64 ]
Inst git-man:amd64 [1.0] (1:2.39.5-0+deb12u3 Debian:12.15/oldstable [all])
Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Name: "git", Version: "1:2.39.5-0+deb12u3", Arch: "amd64"}, {Name: "git-man", Version: "1:2.39.5-0+deb12u3", Arch: "all"},
		{Name: "libc6", Version: "2.36-9+deb12u14", Arch: "amd64"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "Inst what is this\n"} {
		if _, err := planned(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
