// Package repo turns a repository's directory into a tar stream that fills a workspace.
//
// # What is in it
//
// Everything that Git would know or show: tracked files, and untracked ones that are not ignored; the directory .git
// itself, so that steps can ask Git for history and tags; submodules and other nested repositories by their own rules; empty directories.
// Symbolic links are links, whatever they point to. Modes and modification times (in whole seconds) are kept.
// Sockets, FIFOs and devices are left out, with a warning.
//
// What is ignored is asked of the git program, which knows all of it: nested .gitignore files with negations,
// .git/info/exclude, the user's own excludes, and that a file which is tracked is never ignored. Without git, or where it refuses
// (another user's repository), [Tar] reads the same files itself; it does not know what is
// tracked then, and says so in a warning. A directory that is no repository is read by the .gitignore files in it.
//
// In a linked worktree .git is a file that names a directory elsewhere, which would mean nothing in a container. There the
// stream has a whole .git directory, put together from the shared one and the worktree's own HEAD and index.
//
// Nothing is held in memory but one directory's entries at a time and the list of what is ignored.
package repo

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Options say what to put into the stream.
type Options struct {
	// Ignored includes what Git ignores.
	Ignored bool
	// UID and GID own every entry.
	UID, GID int
	// Name is the directory's own name in the stream; empty is ".". Some runtimes give owner and mode to the
	// directory into which they unpack only if it is named.
	Name string
	// DirMode is added to the permissions of every directory.
	DirMode fs.FileMode
	// Warn, if not nil, is told what a person should know, one sentence a call.
	Warn func(string)
}

// Tar writes the tar stream of the directory dir to w, the directory itself first. An error of w ends it, and is returned.
func Tar(ctx context.Context, w io.Writer, dir string, opts Options) error {
	t := &writer{ctx: ctx, tar: tar.NewWriter(w), opts: opts, dir: dir}
	if t.opts.Warn == nil {
		t.opts.Warn = func(string) {}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("repository %s is not a directory", dir)
	}
	if err := t.entry(".", dir, info); err != nil {
		return err
	}
	if err := t.directory(".", t.rules("."), nil); err != nil {
		return err
	}
	return t.tar.Close()
}

// Empty writes a tar stream that holds nothing but a directory, with the name, owner and mode of opts.
func Empty(w io.Writer, opts Options) error {
	t := tar.NewWriter(w)
	h := &tar.Header{Typeflag: tar.TypeDir, Name: path.Join(opts.Name, ".") + "/", Mode: int64(0o755 | opts.DirMode.Perm()), Uid: opts.UID, Gid: opts.GID, ModTime: time.Now().Truncate(time.Second)}
	return errors.Join(t.WriteHeader(h), t.Close())
}

// writer writes one stream.
type writer struct {
	ctx  context.Context
	tar  *tar.Writer
	opts Options
	dir  string
	buf  [32 << 10]byte
}

// rules returns what is ignored in the repository at rel, or nil if nothing is.
func (t *writer) rules(rel string) ignorer {
	if t.opts.Ignored {
		return nil
	}
	dir := filepath.Join(t.dir, filepath.FromSlash(rel))
	ignored, err := askGit(t.ctx, dir)
	if err == nil {
		return &gitRules{base: rel, paths: ignored}
	}
	if !errors.Is(err, errNoRepository) {
		t.opts.Warn(fmt.Sprintf("%s: .gitignore is read without git's help, so files that are tracked although they are ignored are left out: %v", dir, err))
	}
	return newFileRules(dir, rel)
}

// ignorer says which paths are left out.
type ignorer interface {
	// enter is called with each directory before its entries.
	enter(rel string) error
	// ignored reports whether the path, relative to the whole repository and with slashes, is left out.
	ignored(rel string, dir bool) bool
}

// directory writes what is in the directory rel. Inside of .git nothing is ignored: rules is nil there.
func (t *writer) directory(rel string, rules ignorer, skip map[string]bool) error {
	if err := t.ctx.Err(); err != nil {
		return context.Cause(t.ctx)
	}
	abs := filepath.Join(t.dir, filepath.FromSlash(rel))
	entries, err := os.ReadDir(abs)
	if err != nil {
		return unreadable(rel, err)
	}
	if rules != nil {
		if err := rules.enter(rel); err != nil {
			return unreadable(rel, err)
		}
	}
	for _, e := range entries {
		if skip[e.Name()] {
			continue
		}
		if err := t.child(path.Join(rel, e.Name()), filepath.Join(abs, e.Name()), e, rules); err != nil {
			return err
		}
	}
	return nil
}

// child writes one entry of a directory, and what is below it.
func (t *writer) child(rel, abs string, e fs.DirEntry, rules ignorer) error {
	git := e.Name() == ".git"
	if rules != nil && !git && rules.ignored(rel, e.IsDir()) {
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went away since the directory was read
	}
	if err != nil {
		return unreadable(rel, err)
	}
	if git && rel == ".git" && info.Mode().IsRegular() {
		if done, err := t.worktree(abs); done || err != nil {
			return err
		}
	}
	if err := t.entry(rel, abs, info); err != nil || !info.IsDir() {
		return err
	}
	switch {
	case git:
		return t.directory(rel, nil, nil)
	case rules != nil && exists(filepath.Join(abs, ".git")):
		return t.directory(rel, t.rules(rel), nil)
	}
	return t.directory(rel, rules, nil)
}

// entry writes a header, and a file's content.
func (t *writer) entry(rel, abs string, info fs.FileInfo) error {
	h := &tar.Header{Name: rel, Mode: int64(info.Mode().Perm()), Uid: t.opts.UID, Gid: t.opts.GID, ModTime: info.ModTime().Truncate(time.Second)}
	for mode, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&mode != 0 {
			h.Mode |= bit
		}
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, rel+"/"
		h.Mode |= int64(t.opts.DirMode.Perm())
		return t.header(h)
	case fs.ModeSymlink:
		target, err := os.Readlink(abs)
		if err != nil {
			return unreadable(rel, err)
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, filepath.ToSlash(target), 0o777
		return t.header(h)
	case 0:
		h.Typeflag = tar.TypeReg
		return t.file(h, abs)
	}
	t.opts.Warn(fmt.Sprintf("%s is a %s and is left out of the workspace", rel, kind(info.Mode())))
	return nil
}

func (t *writer) header(h *tar.Header) error {
	if t.opts.Name != "" {
		dir := strings.HasSuffix(h.Name, "/")
		if h.Name = path.Join(t.opts.Name, h.Name); dir {
			h.Name += "/"
		}
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("repository file %s: %w", h.Name, err)
	}
	return nil
}

// file writes a file with the size it has when it is opened: one that shrinks meanwhile is filled up with zeros, one that grows is cut.
func (t *writer) file(h *tar.Header, abs string) error {
	f, err := openFile(abs)
	if err != nil {
		return unreadable(h.Name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return unreadable(h.Name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("repository file %s changed into a %s while it was read; try again", h.Name, kind(info.Mode()))
	}
	h.Size = info.Size()
	if err := t.header(h); err != nil {
		return err
	}
	n, err := t.copy(f, h.Size)
	if err != nil {
		return fmt.Errorf("repository file %s: %w", h.Name, err)
	}
	if n == h.Size {
		return nil
	}
	t.opts.Warn(fmt.Sprintf("%s shrank from %d to %d bytes while it was read", h.Name, h.Size, n))
	_, err = t.copy(zeros{}, h.Size-n)
	return err
}

// copy copies up to n bytes.
func (t *writer) copy(r io.Reader, n int64) (int64, error) {
	var done int64
	for done < n {
		if t.ctx.Err() != nil {
			return done, context.Cause(t.ctx)
		}
		got, err := r.Read(t.buf[:min(int64(len(t.buf)), n-done)])
		if _, werr := t.tar.Write(t.buf[:got]); werr != nil {
			return done, werr
		}
		done += int64(got)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// zeros reads zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Unreadable says that a file of the repository cannot be read.
type Unreadable struct {
	// Path is relative to the repository.
	Path string
	Err  error
}

func (e *Unreadable) Error() string {
	return fmt.Sprintf("repository file %s cannot be read; change its permissions, or let .gitignore leave it out: %v", e.Path, e.Err)
}

func (e *Unreadable) Unwrap() error { return e.Err }

func unreadable(rel string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &Unreadable{Path: rel, Err: err}
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeDevice != 0:
		return "device"
	case m.IsDir():
		return "directory"
	}
	return "special file"
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
