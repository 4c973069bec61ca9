// Package lease tells builds that live from builds whose process has died, and cleans up what the latter left.
//
// A build holds a lease while it lives: a file in a state directory, locked by its process. The kernel frees the lock when the
// process ends, however it ends, also when the machine does. Everything a build makes on a runtime is labelled with the build
// and with this host.
//
// # Who is dead
//
// The rule: a build is dead if its lease lies in this state directory and no one holds it. Where no lease lies, nothing is known of
// the build, and what it made is left alone. A build that leaves nothing takes its lease away with it; every other lease stays
// when its build has ended or died, for [Collect] to find, on whichever runtime and after however many restarts of the machine.
//
// So a state directory does not judge what it has not seen. This matters where one is copied (an image of a machine or of a
// container, a home directory) and original and copy use one runtime: they have the same host ID, but what one begins
// after the copy was made has no lease with the other. What ran at that moment has one in both; where the copy is on a machine
// with another /etc/machine-id it has another host ID, too. A copy of the machine itself, made while a build runs, cannot be told
// from the same machine after a restart, which must collect: do not copy a machine that builds on a runtime elsewhere.
package lease

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/internal/flock"
)

// Labels of what a build makes on a runtime.
const (
	// LabelBuild is the build's ID, on everything that shall not outlive the build.
	LabelBuild = "build"
	// LabelHost is the ID of the state directory that holds the build's lease, see [Dir.Host].
	LabelHost = "host"
	// LabelKeep is "true" on what shall stay for a person to look at.
	LabelKeep = "keep"
)

// DefaultDir returns the state directory of the user: wharf below $XDG_STATE_HOME, ~/.local/state if that is not set.
func DefaultDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "wharf"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no home directory to keep state and results in (%w); %s", err, setState)
	}
	return filepath.Join(home, ".local", "state", "wharf"), nil
}

// setState is what mends a default state directory that cannot be used.
const setState = "set XDG_STATE_HOME to a directory that can be written"

// Dir is a state directory. Its methods may be called by many goroutines and processes at once.
type Dir struct{ path, host string }

// Open opens a state directory and makes it if need be; an empty path is [DefaultDir].
func Open(path string) (*Dir, error) {
	advice := ""
	if path == "" {
		var err error
		if path, err = DefaultDir(); err != nil {
			return nil, err
		}
		advice = "; " + setState
	}
	if err := os.MkdirAll(filepath.Join(path, "leases"), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w%s", err, advice)
	}
	host, err := hostID(filepath.Join(path, "host"))
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	machine, _ := os.ReadFile("/etc/machine-id") // not every system has one
	return &Dir{path: path, host: onMachine(host, machine)}, nil
}

// onMachine returns what a host's ID is on a machine.
func onMachine(host string, machine []byte) string {
	sum := sha256.Sum256(append([]byte(host+"\n"), bytes.TrimSpace(machine)...))
	return hex.EncodeToString(sum[:16])
}

// hostID reads the host's ID, or makes it. Of several processes that make it, one wins.
func hostID(path string) (string, error) {
	if id, err := readID(path); !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".host-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(strings.ToLower(rand.Text()) + "\n")
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return readID(path)
}

func readID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if driver.ValidName(id) != nil {
		return "", fmt.Errorf("%s holds no host ID; remove the file, and a new one is made", path)
	}
	return id, nil
}

// Path returns the directory.
func (d *Dir) Path() string { return d.path }

// Host returns the ID of this state directory on this machine, for [LabelHost]. It is random, and stays the same.
func (d *Dir) Host() string { return d.host }

// Labels returns the labels of what the build makes.
func (d *Dir) Labels(build string) map[string]string {
	return map[string]string{LabelBuild: build, LabelHost: d.host}
}

func (d *Dir) file(build string) string { return filepath.Join(d.path, "leases", build) }

// Lease is held by a living build.
type Lease struct {
	file *os.File
	path string
	once sync.Once
}

// Take takes the lease of a build, before it makes its first object. It fails if another process holds it.
func (d *Dir) Take(build string) (*Lease, error) {
	if err := driver.ValidName(build); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	path := d.file(build)
	// The file appears under its name when it is locked already, so no one ever sees it unlocked.
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+build+"-")
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err := flock.Lock(tmp); err != nil {
		_ = tmp.Close()
		return nil, fmt.Errorf("lease %s: %w", path, err)
	}
	err = os.Link(tmp.Name(), path)
	if err == nil {
		return &Lease{file: tmp, path: path}, nil
	}
	_ = tmp.Close()
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("lease: %w", err)
	}
	return d.retake(path)
}

// retake takes the lease of a build whose process has died.
func (d *Dir) retake(path string) (*Lease, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if err := flock.Lock(f); err != nil {
		_ = f.Close()
		if errors.Is(err, flock.ErrHeld) {
			return nil, fmt.Errorf("build %s runs in another process", filepath.Base(path))
		}
		return nil, fmt.Errorf("lease %s: %w", path, err)
	}
	if now, err := os.Stat(path); err != nil || !same(f, now) {
		_ = f.Close()
		return nil, fmt.Errorf("lease %s was cleaned up just now; try again", path)
	}
	return &Lease{file: f, path: path}, nil
}

func same(f *os.File, info fs.FileInfo) bool {
	own, err := f.Stat()
	return err == nil && os.SameFile(own, info)
}

// Build returns the ID of the build.
func (l *Lease) Build() string { return filepath.Base(l.path) }

// Release gives the lease of a build back that has left nothing, and removes its file. After a first Release or Leave it does
// nothing.
func (l *Lease) Release() error {
	return l.end(func() error { return os.Remove(l.path) })
}

// Leave gives the lease of a build back that may have left something: its file stays, so that Collect knows that
// the build is dead. After a first Release or Leave it does nothing.
func (l *Lease) Leave() error {
	return l.end(func() error { return nil })
}

// end gives the lease back, once.
func (l *Lease) end(before func() error) (err error) {
	l.once.Do(func() {
		if err = before(); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		err = errors.Join(err, l.file.Close())
	})
	return err
}

// Held reports whether a living process holds the lease of a build.
func (d *Dir) Held(build string) (bool, error) {
	held, _, err := d.look(build)
	return held, err
}

// dead reports whether the lease of a build lies here and no process holds it.
func (d *Dir) dead(build string) (bool, error) {
	held, here, err := d.look(build)
	return here && !held, err
}

// look reports whether the lease of a build is held, and whether it lies here at all.
func (d *Dir) look(build string) (held, here bool, err error) {
	if driver.ValidName(build) != nil {
		return false, false, nil
	}
	f, err := os.OpenFile(d.file(build), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("lease: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := flock.Lock(f); errors.Is(err, flock.ErrHeld) {
		return true, true, nil
	} else if err != nil {
		return false, true, fmt.Errorf("lease %s: %w", f.Name(), err)
	}
	return false, true, nil
}

// forgotten is how long the lease of a dead build stays: there may be something of it on a runtime that is not asked for long.
const forgotten = 365 * 24 * time.Hour

// sweep removes the files of old leases that no one holds, each under its lock, so that no one can take it meanwhile.
func (d *Dir) sweep() error {
	entries, err := os.ReadDir(filepath.Join(d.path, "leases"))
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < forgotten {
			continue
		}
		if l, err := d.retake(d.file(e.Name())); err == nil {
			if err := l.Release(); err != nil {
				return fmt.Errorf("leases: %w", err)
			}
		}
	}
	return nil
}
