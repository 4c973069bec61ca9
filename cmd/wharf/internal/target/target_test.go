//go:build unix

package target_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/served"
	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// build is one that is served: its journal is all that there is of it.
type build struct {
	dir     string
	writer  *journal.Writer
	stopped chan string
}

func (b *build) ID() string               { return "b" }
func (b *build) Results() string          { return b.dir }
func (b *build) Journal() *journal.Writer { return b.writer }
func (b *build) Stop(why string, _ bool)  { b.stopped <- why }

func newBuild(t *testing.T, dir string) *build {
	t.Helper()
	w, err := journal.Create(dir, journal.Options{Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	b := &build{dir: dir, writer: w, stopped: make(chan string, 1)}
	w.Append(journal.Event{Kind: journal.KindBuild, State: journal.Running})
	return b
}

func (b *build) end() {
	b.writer.Append(journal.Event{Kind: journal.KindBuild, State: journal.Succeeded})
	_ = b.writer.Close()
}

func (b *build) warn(words ...string) {
	for _, w := range words {
		b.writer.Append(journal.Event{Kind: journal.KindWarning, Step: "s", Reason: w})
	}
}

func (b *build) serve(t *testing.T, listen string) *served.Serving {
	t.Helper()
	s, err := served.Start(b, served.Options{Token: "token", Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, name string) *target.Target {
	t.Helper()
	found, err := target.Open(t.Context(), name, target.Remote{Token: "token"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(found.Close)
	return found
}

// A directory may have any name.
func TestServedInAnyDirectory(t *testing.T) {
	b := newBuild(t, filepath.Join(t.TempDir(), "a%2Fb#c?d=e%"))
	defer b.serve(t, "").Close()
	found := open(t, b.dir)
	if got, err := found.Build(t.Context()); err != nil || !found.Served() || got.ID != "b" {
		t.Errorf("%+v, served: %v, %v", got, found.Served(), err)
	}
}

// Only a process that is not there any more is taken for one.
func TestUnasked(t *testing.T) {
	b := newBuild(t, t.TempDir())
	s := b.serve(t, "")
	path := filepath.Join(b.dir, "worker.json")
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"{":  "does not say how the build is reached",
		"{}": "does not say how the build is reached",
		strings.Replace(string(kept), "token\": \"token", "token\": \"other", 1):  "its token is not",
		strings.Replace(string(kept), "worker.sock", strings.Repeat("x", 300), 1): "cannot be asked",
	} {
		put(text)
		if _, err := target.OpenDir(t.Context(), b.dir); !errors.Is(err, target.ErrUnasked) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	s.Close()
	put(string(kept)) // as one that was killed leaves it, without its socket
	if found := open(t, b.dir); found.Served() {
		t.Error("without a socket it is taken for served")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(b.dir, "worker.sock")})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if found := open(t, b.dir); found.Served() {
		t.Error("with a socket that refuses it is taken for served")
	}
}

// What is no file, and what a link leads to outside, is not read as an artifact.
func TestForeignArtifacts(t *testing.T) {
	b := newBuild(t, t.TempDir())
	dir := filepath.Join(b.dir, journal.Artifacts, "s")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o755),
		os.Symlink("/etc/passwd", filepath.Join(dir, "link")), os.Symlink("file", filepath.Join(dir, "inner")), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	found := open(t, b.dir)
	for _, name := range []string{"link", "inner", "pipe", "../../journal.jsonl/", "../../../out", "none", "."} {
		if err := found.ReadArtifact(t.Context(), client.Artifact{Step: "s", Name: name}, 0, new(bytes.Buffer)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	var out bytes.Buffer
	sum := sha256.Sum256([]byte("text"))
	a := client.Artifact{Step: "s", Name: "file", SHA256: hex.EncodeToString(sum[:])}
	if err := found.ReadArtifact(t.Context(), a, 1, &out); err != nil || out.String() != "ext" || !found.Executable(a) {
		t.Errorf("%q, %v, executable: %v", &out, err, found.Executable(a))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := found.ReadArtifact(ctx, a, 0, &out); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// A build that has ended is not stopped, served or not; only then is it released.
func TestCancelAndRelease(t *testing.T) {
	b := newBuild(t, t.TempDir())
	s := b.serve(t, "")
	found := open(t, b.dir)
	if err := found.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "it still runs") {
		t.Errorf("Release of one that runs: %v", err)
	}
	if err := found.Cancel(t.Context(), "why", false); err != nil || <-b.stopped != "why" {
		t.Error(err)
	}
	b.end()
	if err := found.Cancel(t.Context(), "why", false); err == nil || err.Error() != "it has ended: succeeded" {
		t.Errorf("Cancel of one that has ended: %v", err)
	}
	if err := found.Release(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-s.Released():
	case <-time.After(10 * time.Second):
		t.Error("it is not released")
	}
	s.Close()
	gone := open(t, b.dir)
	if err := gone.Cancel(t.Context(), "why", false); err == nil || err.Error() != "it has ended: succeeded" {
		t.Errorf("Cancel by files: %v", err)
	}
	if err := gone.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "no process serves it") {
		t.Errorf("Release by files: %v", err)
	}
}
