// Package debian fetches packages of Debian for any architecture, and unpacks them. It leaves the machine's own packages, lists and settings alone.
//
// What is trusted and where from is what the machine itself says in /etc/apt; apt checks the signatures. It needs apt-get and dpkg-deb.
package debian

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Package is one in a [Set].
type Package struct {
	Name, Version, Arch string
	SHA256              string // of the file, in hexadecimal digits
	Size                int64  // of the file
	Made                int64  // when, in seconds since 1970
}

// String is the package as apt names it, with version and architecture.
func (p Package) String() string { return p.Name + ":" + p.Arch + "=" + p.Version }

// file is the name that apt gives to the package's file.
func (p Package) file() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

// Set are packages with all that they depend on, in files.
type Set struct {
	Arch     string
	Wanted   []string  // what was asked for
	Packages []Package // by name
	dir      string
}

// Open returns the packages of that architecture, as Debian names it, with all that they depend on, from the directory dir, where they are kept. If they are
// not there they are fetched, and if update is set the newest are. One process at a time does this.
func Open(dir, arch string, wanted []string, update bool) (*Set, error) {
	s := &Set{Arch: arch, Wanted: wanted, dir: filepath.Join(dir, arch)}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	if !update && s.recall() {
		return s, nil
	}
	if err := s.fetch(); err != nil {
		return nil, fmt.Errorf("packages of Debian for %s: %w", arch, err)
	}
	return s, s.remember()
}

func (s *Set) list() string { return filepath.Join(s.dir, "packages.json") }

// recall takes the set from an earlier time, and reports whether that is whole. The files' sums are looked at when they are unpacked.
func (s *Set) recall() bool {
	text, err := os.ReadFile(s.list())
	if err != nil {
		return false
	}
	var old Set
	if json.Unmarshal(text, &old) != nil || !slices.Equal(old.Wanted, s.Wanted) || len(old.Packages) == 0 {
		return false
	}
	for _, p := range old.Packages {
		if info, err := os.Stat(s.path(p)); err != nil || info.Size() != p.Size {
			return false
		}
	}
	s.Packages = old.Packages
	return true
}

// remember writes the list down: one that is there is whole.
func (s *Set) remember() error {
	for i := range s.Packages {
		if err := s.measure(&s.Packages[i]); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.list()+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(s.list()+".new", s.list())
}

func (s *Set) path(p Package) string { return filepath.Join(s.archives(), p.file()) }

// measure takes the sum, size and time of a package's file. The time is that of the first member of the archive, which is the version's own.
func (s *Set) measure(p *Package) error {
	f, err := os.Open(s.path(*p))
	if err != nil {
		return err
	}
	defer f.Close()
	const magic = "!<arch>\n"
	head := make([]byte, len(magic)+60)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:len(magic)]) != magic {
		return fmt.Errorf("%s is no package: %w", f.Name(), errors.Join(err, errors.New("it does not begin as an archive")))
	}
	if p.Made, err = strconv.ParseInt(strings.TrimSpace(string(head[len(magic)+16:len(magic)+28])), 10, 64); err != nil {
		return fmt.Errorf("%s: the time: %w", f.Name(), err)
	}
	sum := sha256.New()
	sum.Write(head)
	rest, err := io.Copy(sum, f)
	p.Size, p.SHA256 = int64(len(head))+rest, fmt.Sprintf("%x", sum.Sum(nil))
	return err
}

// Files calls visit for each entry of a package's tar of files, in its order.
func (s *Set) Files(p Package, visit func(*tar.Header, io.Reader) error) error {
	now := p
	if err := s.measure(&now); err != nil {
		return err
	}
	if now != p {
		return fmt.Errorf("%s is not what was fetched: remove it", s.path(p))
	}
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", s.path(p))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := walk(tar.NewReader(out), visit)
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		failed = errors.Join(failed, fmt.Errorf("dpkg-deb: %w: %s", err, strings.TrimSpace(complaint.String())))
	}
	if failed != nil {
		return fmt.Errorf("%s: %w", p, failed)
	}
	return nil
}

func walk(files *tar.Reader, visit func(*tar.Header, io.Reader) error) error {
	for {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(h, files); err != nil {
			return err
		}
	}
}
