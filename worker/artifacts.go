package worker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/testresults"
)

// keepArtifacts stores the files of the workspace that the step's globs name. What cannot be read is a warning; what
// cannot be stored stops the build.
func (e *engine) keepArtifacts(p *prep) {
	if len(p.step.Artifacts) == 0 {
		return
	}
	dir := filepath.Join(e.dir, journal.Artifacts, p.step.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.j.Fail(err)
		return
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		e.j.Fail(err)
		return
	}
	defer func() { _ = root.Close() }()
	k := &keeper{e: e, p: p, root: root, kept: map[string]Event{}, used: map[string]bool{}}
	for base, globs := range byBase(p.step.Artifacts) {
		if err := k.tree(e.stop, base, globs); err != nil {
			if e.stopped() == nil {
				k.warn("artifacts below %s could not be read: %v", base, err)
			}
			return
		}
	}
	for _, glob := range p.step.Artifacts {
		if !k.used[glob] {
			k.warn("artifacts: no file matches %q", glob)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.kept)) {
		if p.past == nil || p.past.artifacts[name].SHA256 != k.kept[name].SHA256 {
			e.j.Append(k.kept[name])
		}
		k.count(name)
	}
}

// count tells of the tests in an artifact, if it is a file of test results.
func (k *keeper) count(name string) {
	if !testresults.Candidate(name) || k.p.past != nil && k.p.past.counted[name] {
		return
	}
	f, err := k.root.Open(filepath.FromSlash(name))
	if err != nil {
		return // it was stored a moment ago; the artifact is there all the same
	}
	defer func() { _ = f.Close() }()
	tests, err := testresults.Read(f)
	if errors.Is(err, testresults.ErrOther) {
		return
	}
	if err != nil {
		k.warn("test results in %s cannot be read: %v", name, err)
		return
	}
	for i := range tests.Failures {
		tests.Failures[i] = k.e.mask.String(tests.Failures[i])
	}
	k.e.j.Append(Event{Kind: KindTests, Stage: k.kept[name].Stage, Step: k.p.step.ID, Name: name, Tests: tests})
}

// warn tells what fails nothing, unless an earlier process has.
func (k *keeper) warn(format string, args ...any) {
	if k.p.past == nil || !k.p.past.warned[k.e.mask.String(fmt.Sprintf(format, args...))] {
		k.e.warn(k.p.step.ID, format, args...)
	}
}

// byBase groups globs by the deepest path without a wildcard, below which their matches are. A base below another is
// not read for itself.
func byBase(globs []string) map[string][]string {
	groups := map[string][]string{}
	for _, glob := range globs {
		base, rest := doublestar.SplitPattern(path.Clean(glob))
		if rest != "" && !strings.ContainsAny(rest, `*?[{\`) {
			base = path.Join(base, rest)
		}
		groups[base] = append(groups[base], glob)
	}
	for base := range groups {
		for dir := path.Dir(base); base != "."; dir = path.Dir(dir) {
			if _, ok := groups[dir]; ok {
				groups[dir] = append(groups[dir], groups[base]...)
				delete(groups, base)
				break
			}
			if dir == "." {
				break
			}
		}
	}
	return groups
}

// keeper stores artifacts of one step.
type keeper struct {
	e    *engine
	p    *prep
	root *os.Root
	kept map[string]Event
	used map[string]bool
}

// tree reads what is at base, and stores the files that a glob matches.
func (k *keeper) tree(ctx context.Context, base string, globs []string) error {
	stream, err := k.e.d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Task: k.p.task}, Path: path.Join(Workspace, base)})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	parent := path.Dir(base)
	if base == "." {
		parent = ".."
	}
	entries := tar.NewReader(stream)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := inWorkspace(parent, h.Name)
		if !k.matches(name, globs) {
			continue
		}
		if err := k.entry(name, parent, h, entries); err != nil {
			return err
		}
	}
}

// inWorkspace returns the path in the workspace of an entry of a stream whose first element lies in parent.
func inWorkspace(parent, entry string) string {
	entry = path.Clean(entry)
	if parent == ".." { // the stream is the workspace itself, under its own name
		_, entry, _ = strings.Cut(entry, "/")
		return path.Clean(entry)
	}
	return path.Join(parent, entry)
}

// matches reports whether a glob names the file, or a directory above it.
func (k *keeper) matches(name string, globs []string) bool {
	found := false
	for _, glob := range globs {
		for p := name; p != "." && p != "/"; p = path.Dir(p) {
			if ok, _ := doublestar.Match(path.Clean(glob), p); ok {
				k.used[glob] = true
				found = true
				break
			}
		}
	}
	return found
}

func (k *keeper) entry(name, parent string, h *tar.Header, content io.Reader) error {
	if !utf8.ValidString(name) {
		k.warn("artifact %q was left out: its name is not UTF-8", name)
		return nil
	}
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeLink:
		f, err := k.root.Open(filepath.FromSlash(inWorkspace(parent, h.Linkname)))
		if err != nil {
			k.warn("artifact %s is a hard link to %s, which is no artifact itself, and was left out", name, h.Linkname)
			return nil
		}
		defer func() { _ = f.Close() }()
		content = f
	case tar.TypeSymlink:
		k.warn("artifact %s is a symbolic link and was left out", name)
		return nil
	default:
		return nil
	}
	return k.store(name, h, content)
}

// store writes one artifact. The error is of reading; failures to write go to the journal.
func (k *keeper) store(name string, h *tar.Header, content io.Reader) error {
	file := filepath.FromSlash(name)
	if !filepath.IsLocal(file) {
		return fmt.Errorf("the runtime delivered a file named %q", h.Name)
	}
	f, err := k.create(file, fs.FileMode(h.Mode).Perm()|0o600)
	if err != nil {
		k.e.j.Fail(err)
		return err
	}
	sum := sha256.New()
	in := &noting{r: content}
	n, err := io.Copy(io.MultiWriter(f, sum), in)
	if err := errors.Join(err, f.Close()); err != nil {
		if in.err == nil {
			k.e.j.Fail(err)
		}
		_ = k.root.Remove(file)
		return err
	}
	k.kept[name] = Event{Kind: KindArtifact, Stage: k.e.cfg.Plan.Stages[k.p.stage].Name, Step: k.p.step.ID, Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}
	return nil
}

func (k *keeper) create(file string, mode fs.FileMode) (*os.File, error) {
	if err := k.root.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return k.root.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
}

// noting remembers an error of reading, to tell it from one of writing.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	got, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return got, err
}
