package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 123456789, time.UTC)

func create(t *testing.T, opts Options) (*Writer, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "results")
	w, err := Create(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, dir
}

func read(t *testing.T, dir string) []Event {
	t.Helper()
	var events []Event
	for e, err := range Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestRoundTrip(t *testing.T) {
	w, dir := create(t, Options{})
	w.Append(Event{Time: noon, Kind: KindBuild, State: Running})
	log := w.Log("build--web")
	log.Write(noon, "", "stdout", []byte("one"), false)
	log.Write(noon.Add(time.Second), "", "stdout", nil, false)
	log.Write(noon.Add(2*time.Second), "", "stderr", []byte("half \x00\xff\r"), true)
	log.Write(noon.Add(2*time.Second), "db", "stderr", []byte("ready"), false)
	log.Flush()
	w.Append(Event{Time: noon, Kind: KindStep, Stage: "build", Step: "build--web", State: Succeeded, Attempt: 1})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := []Event{
		{Seq: 1, Time: noon, Kind: KindBuild, State: Running},
		{Seq: 2, Time: noon, Kind: KindLog, Step: "build--web", Stream: "stdout", Line: []byte("one")},
		{Seq: 3, Time: noon.Add(time.Second), Kind: KindLog, Step: "build--web", Stream: "stdout", Line: []byte{}},
		{Seq: 4, Time: noon.Add(2 * time.Second), Kind: KindLog, Step: "build--web", Stream: "stderr", Line: []byte("half \x00\xff\r"), Partial: true},
		{Seq: 5, Time: noon.Add(2 * time.Second), Kind: KindLog, Step: "build--web", Container: "db", Stream: "stderr", Line: []byte("ready")},
		{Seq: 6, Time: noon, Kind: KindStep, Stage: "build", Step: "build--web", State: Succeeded, Attempt: 1},
	}
	if diff := cmp.Diff(want, read(t, dir)); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	text, err := os.ReadFile(filepath.Join(dir, LogPath("build--web")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.SplitAfter(string(text), "\n")[0], "2026-05-04T12:00:00.123456789Z one\n"; got != want {
		t.Errorf("output.log begins with %q, want %q", got, want)
	}
}

func TestSecondBuildIsRefused(t *testing.T) {
	_, dir := create(t, Options{})
	if _, err := Create(dir, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create in a directory with a journal: %v, want ErrExist", err)
	}
}

// Many writers, and an observer that reads along: numbers have no gap, and each step's lines are in order.
func TestOrder(t *testing.T) {
	w, dir := create(t, Options{})
	const steps, lines = 4, 5000
	var told []Event
	done := make(chan error, 1)
	go func() {
		done <- w.Observe(func(events []Event) {
			told = append(told, events...)
		})
	}()
	var wg sync.WaitGroup
	for s := range steps {
		wg.Go(func() {
			step := fmt.Sprint("step", s)
			log := w.Log(step)
			for i := range lines {
				log.Write(time.Now(), "", []string{"stdout", "stderr"}[i/100%2], fmt.Appendf(nil, "%d", i), false)
			}
			log.Close()
			w.Append(Event{Kind: KindStep, Step: step, State: Succeeded})
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for i, e := range told {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Seq)
		}
		if e.Kind == KindLog {
			if got := string(e.Line); got != fmt.Sprint(next[e.Step]) {
				t.Fatalf("%s: line %q, want %d", e.Step, got, next[e.Step])
			}
			next[e.Step]++
		} else if next[e.Step] != lines {
			t.Errorf("%s ended before line %d", e.Step, next[e.Step])
		}
	}
	if len(told) != steps*(lines+1) {
		t.Errorf("told %d events, want %d", len(told), steps*(lines+1))
	}
	if diff := cmp.Diff(told, read(t, dir)); diff != "" {
		t.Errorf("another reader sees something else (-observed +read):\n%s", diff)
	}
}

// An observer that takes its time holds up no one, and misses nothing.
func TestSlowObserver(t *testing.T) {
	w, _ := create(t, Options{})
	release := make(chan struct{})
	count := 0
	done := make(chan error, 1)
	go func() {
		done <- w.Observe(func(events []Event) {
			<-release
			count += len(events)
		})
	}()
	log := w.Log("s")
	for range 100_000 {
		log.Write(noon, "", "stdout", []byte("some line of text"), false)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if count != 100_000 {
		t.Errorf("told %d lines, want 100000", count)
	}
}

func TestPulls(t *testing.T) {
	w, dir := create(t, Options{})
	for i := range 10 {
		w.Pull(Event{Kind: KindPull, Image: "a", Done: int64(i), Total: 10})
		w.Pull(Event{Kind: KindPull, Image: "b", Done: int64(i), Total: 10})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var told []int64
	if err := w.Observe(func(events []Event) {
		for _, e := range events {
			told = append(told, e.Done)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{9, 9}, told); diff != "" {
		t.Errorf("told of pulls (-want +got):\n%s", diff)
	}
	if got := read(t, dir); len(got) != 0 {
		t.Errorf("stored %v", got)
	}
}

// When no more can be stored, what was stays readable, and the reserve takes the last word.
func TestFull(t *testing.T) {
	w, dir := create(t, Options{Quota: 10_000})
	log := w.Log("s")
	for i := range 10 {
		log.Write(noon, "", "stdout", bytes.Repeat([]byte{'x'}, 2000), false)
		log.Flush()
		if i == 0 {
			select {
			case <-w.Failed():
				t.Fatal("failed at the first line")
			default:
			}
		}
	}
	<-w.Failed()
	w.Append(Event{Time: noon, Kind: KindBuild, State: Errored, Reason: w.Err().Error()})
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "quota") {
		t.Errorf("Close: %v, want the quota", err)
	}
	events := read(t, dir)
	if len(events) != 5 || events[3].Kind != KindLog || events[4].State != Errored {
		t.Errorf("read %d events, want four lines and the build's end: %v", len(events), events)
	}
}

// A journal whose last line was cut off by a crash ends before it; damage inside is an error.
func TestDamage(t *testing.T) {
	w, dir := create(t, Options{})
	for range 3 {
		w.Append(Event{Time: noon, Kind: KindWarning, Reason: "r"})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := strings.SplitAfter(string(whole), "\n")[0]
	for _, c := range []struct {
		name string
		text []byte
		n    int
		ok   bool
	}{
		{"cut", whole[:len(whole)-5], 2, true},
		{"no entry", []byte(head), 0, true},
		{"empty", nil, 0, false},
		{"gap", bytes.Replace(whole, []byte(`"seq":2`), []byte(`"seq":7`), 1), 1, false},
		{"garbage", append([]byte("{}garbage\n"), whole...), 0, false},
		{"log outside", []byte(head + `{"seq":1,"kind":"log","step":"../../x","lines":1,"bytes":1,"runs":[{"lines":1}]}` + "\n"), 0, false},
		{"huge", []byte(head + `{"seq":1,"kind":"log","step":"x","lines":1,"bytes":99999999999,"runs":[{"lines":1}]}` + "\n"), 0, false},
		{"runs", []byte(head + `{"seq":1,"kind":"log","step":"x","lines":1,"bytes":9,"runs":[{"lines":2},{"lines":-1}]}` + "\n"), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, c.text, 0o644); err != nil {
				t.Fatal(err)
			}
			n, ok := 0, true
			for _, err := range Read(dir) {
				if err != nil {
					ok = false
				} else {
					n++
				}
			}
			if n != c.n || ok != c.ok {
				t.Errorf("read %d events, ok %v; want %d, %v", n, ok, c.n, c.ok)
			}
		})
	}
}

func TestStamp(t *testing.T) {
	var s stamper
	var p parser
	for _, at := range []time.Time{noon, noon.Add(1), noon.Add(time.Hour), time.Unix(0, 0), time.Unix(1, 5).In(time.FixedZone("x", 3600))} {
		got := string(s.append(nil, at))
		if want := at.UTC().Format("2006-01-02T15:04:05.000000000Z"); got != want {
			t.Errorf("%v: %q, want %q", at, got, want)
		}
		back, rest := p.parse([]byte(got + " text"))
		if !back.Equal(at) || string(rest) != "text" {
			t.Errorf("%q: read back %v, %q", got, back, rest)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := Create(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	log := w.Log("s")
	line := bytes.Repeat([]byte("0123456789"), 10)
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		log.Write(now.Add(time.Duration(i)*time.Microsecond), "", "stdout", line, false)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	w, err := Create(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	log := w.Log("s")
	line := bytes.Repeat([]byte("0123456789"), 10)
	for range 100_000 {
		log.Write(time.Now(), "", "stdout", line, false)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := w.Observe(func(events []Event) { n += len(events) }); err != nil || n != 100_000 {
			b.Fatal(n, err)
		}
	}
}
