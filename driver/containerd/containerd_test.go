//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/rootfs"
)

func TestValidate(t *testing.T) {
	for name, cfg := range map[string]Config{
		"owner": {Owner: "Not A Name"}, "address": {Address: "tcp://x:1"}, "root": {Root: "relative"}, "state": {State: "relative"}, "cgroup": {Cgroup: "/../x"},
		"namespace": {Namespace: "a/b"}, "subnet": {Subnet: "fd00::/64"}, "patience": {Patience: -1}, "host path": {Allow: Policy{HostPaths: []string{"x"}}},
	} {
		if err := cfg.Validate(); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v; want InvalidArgument", name, err)
		}
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

func TestSubnetsAreHalves(t *testing.T) {
	for in, want := range map[string][2]string{
		"10.87.0.0/16":   {"10.87.0.0/17", "10.87.128.0/17"},
		"192.168.5.0/24": {"192.168.5.0/25", "192.168.5.128/25"},
	} {
		got, err := (&Config{Subnet: in}).subnets()
		if err != nil || got[0].String() != want[0] || got[1].String() != want[1] {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestHandles(t *testing.T) {
	d := &Driver{owner: "me"}
	h := d.handle(mainContainer("me", "unit"), newUID())
	if got, err := d.parse(h.String()); err != nil || got != h {
		t.Errorf("parse(%s): %v, %v", h, got, err)
	}
	other := &Driver{owner: "you"}
	for _, s := range []string{h.String(), "", "a.b.c", strings.Repeat("w", 300), "../../etc.x.y"} {
		if _, err := other.parse(s); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("parse(%q) by another owner: %v; want NotFound", s, err)
		}
	}
}

func TestStreamLines(t *testing.T) {
	long := strings.Repeat("x", driver.MaxLogLine)
	file := filepath.Join(t.TempDir(), "main.stdout")
	if err := os.WriteFile(file, []byte("one\n\n"+long+"\n"+long+"y\nlast"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stream{file: file, until: -1}
	type entry struct {
		Line    string
		Partial bool
	}
	var got []entry
	for {
		e, ok, err := s.take(true, false)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, entry{string(e.Line), e.Partial})
	}
	s.f.Close()
	want := []entry{{"one", false}, {"", false}, {long, false}, {long, true}, {"y", false}, {"last", false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%.500s", diff)
	}
	if info, _ := os.Stat(file); s.offset() != info.Size() {
		t.Errorf("the offset is %d at the end of %d bytes", s.offset(), info.Size())
	}
}

// testDriver is a driver value without a daemon.
func testDriver(t *testing.T) *Driver {
	base := t.TempDir()
	d, err := New(Config{Address: filepath.Join(base, "none.sock"), Root: base, State: base, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// newLog makes an empty log file with a file for its marks.
func newLog(t *testing.T) (file string) {
	file = filepath.Join(t.TempDir(), "main.stdout")
	for _, name := range []string{file, marksFile(file)} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func appendTo(t *testing.T, file, text string) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The times of lines are those of when they were written, also for one who comes later.
func TestTimesOfLines(t *testing.T) {
	file := newLog(t)
	var want []time.Time
	for i, text := range []string{"one\n", "two\nthree\n", "fo", "ur\n", "five\n"} {
		appendTo(t, file, text)
		at := time.Unix(int64(1000*(i+1)), 0).UTC()
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
		if i < 4 { // the last one has no mark
			noteTime(file)
		}
		for range strings.Count(text, "\n") {
			want = append(want, at)
		}
	}
	s := &stream{file: file, until: -1, marks: marks{file: marksFile(file)}}
	var got []time.Time
	for {
		e, ok, err := s.take(true, false)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, e.Time)
	}
	s.marks.close()
	s.f.Close()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestWatcherNotesTimes(t *testing.T) {
	d, file := testDriver(t), newLog(t)
	if err := d.files.mark(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	w, err := d.files.watch(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	appendTo(t, file, "one\n")
	<-w.changed // what is told has been noted
	m := marks{file: marksFile(file)}
	defer m.close()
	if at, ok := m.at(4); !ok || time.Since(at) > time.Minute {
		t.Errorf("the mark of a line that was just written: %s, %t", at, ok)
	}
	if _, ok := m.at(5); ok {
		t.Error("there is a mark of what was not written")
	}
}

// A user has few inotify instances: a driver that watches nothing has none.
func TestWatcherRests(t *testing.T) {
	w := &testDriver(t).files
	busy := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.f != nil
	}
	dir := filepath.Join(t.TempDir(), "task")
	for range 2 { // and takes one again
		if err := w.mark(dir); !errors.Is(err, os.ErrNotExist) || busy() {
			t.Fatalf("watching what is not there: %v, an instance: %t", err, busy())
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		u, err := w.watch(dir)
		if err != nil {
			t.Fatal(err)
		}
		u.close()
		if busy() {
			t.Error("there is an instance, and nobody watches")
		}
		if err := w.mark(dir); err != nil {
			t.Fatal(err)
		}
		if u, err = w.watch(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		for busy() {
			<-u.changed
		}
		u.close()
	}
}

func TestAwaitWriters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	writer, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	d := testDriver(t)
	w, err := d.files.watch(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if free, err := unwritten(file); free || err != nil {
		t.Fatalf("a file that is open for writing: %t, %v", free, err)
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { done <- w.awaitWriters(ctx, file) }()
	writer.Close()
	if err := <-done; err != nil {
		t.Errorf("after the writer has closed the file: %v", err)
	}
}

func TestUnpackFollowsNoLinkOut(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "way-out")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := rootfs.Pack(&b, file, info); err != nil {
		t.Fatal(err)
	}
	err = insideDir(dir, func() error { return rootfs.Unpack("/way-out", &b) }) // inside, the link leads to what is not there
	if err == nil {
		t.Error("a directory that is not there inside is written to")
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside of the root: %v", left)
	}
}

func TestDaemonAway(t *testing.T) {
	base := t.TempDir()
	d, err := New(Config{Address: filepath.Join(base, "none.sock"), Root: base, State: base, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.List(t.Context(), driver.ListOptions{}); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("List without a daemon: %v; want Unavailable", err)
	}
	if _, err := d.Wait(t.Context(), driver.TaskID(d.handle(mainContainer("default", "x"), newUID()).String())); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("Wait without a daemon: %v; want Unavailable", err)
	}
}
