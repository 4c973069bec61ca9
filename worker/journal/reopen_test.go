package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// die ends a writer as kill -9 does: what is not written is gone, and nothing is tidied up.
func (w *Writer) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.syncer.timer != nil {
		w.syncer.timer.Stop()
	}
	_ = w.file.Close()
	_ = w.locked.Close()
}

// story writes a short build of two steps, one of which prints again in a second attempt.
func story(w *Writer) {
	w.Append(Event{Time: noon, Kind: KindBuild, State: Running})
	a, b := w.Log("a"), w.Log("b")
	for i := range 3 {
		a.Write(noon, "", "stdout", fmt.Appendf(nil, "a%d", i), false)
		b.Write(noon, "", []string{"stdout", "stderr"}[i%2], fmt.Appendf(nil, "b%d", i), i == 1)
		a.Flush()
		b.Mark(fmt.Sprint("place \"", i))
	}
	b.Attempt(2)
	b.Write(noon, "db", "stderr", []byte("once more"), false)
	b.Flush()
	w.Append(Event{Time: noon, Kind: KindStep, Step: "a", State: Succeeded, Attempt: 1})
}

// copyDir copies a results directory without its lock.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "results")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// The journal, or a log, ends anywhere: what is whole before that stays, and the build goes on behind it.
func TestTornTail(t *testing.T) {
	w, dir := create(t, Options{Build: "b1"})
	story(w)
	w.die()
	all := read(t, dir)
	for _, file := range []string{fileName, LogPath("a"), LogPath("b")} {
		whole, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		start := 0
		if file == fileName {
			start = strings.IndexByte(string(whole), '\n') + 1
		}
		for _, rest := range []string{"cut off", "zeros", "garbage"} {
			t.Run(filepath.Base(filepath.Dir(file))+" "+rest, func(t *testing.T) {
				step := map[string]int{"cut off": 1, "zeros": 7, "garbage": 11}[rest]
				for n := start; n < len(whole); n += step {
					torn := append([]byte(nil), whole[:n]...)
					switch rest {
					case "zeros":
						torn = append(torn, make([]byte, len(whole)-n)...)
					case "garbage":
						torn = append(torn, strings.Repeat("x\n", len(whole)-n)...)
					}
					goesOn(t, copyDir(t, dir), file, torn, all)
				}
			})
		}
	}
}

// goesOn replaces a file, opens the journal again, and sees that it holds a beginning of all and takes more.
func goesOn(t *testing.T, dir, file string, torn []byte, all []Event) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), torn, 0o600); err != nil {
		t.Fatal(err)
	}
	w, _, err := Reopen(dir, Options{})
	if err != nil {
		t.Fatalf("%s cut at %d: %v", file, len(torn), err)
	}
	kept := w.Last()
	b := w.Log("b")
	b.Write(noon, "", "stdout", []byte("after the restart"), false)
	b.Flush()
	w.Append(Event{Time: noon, Kind: KindBuild, State: Succeeded})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir)
	want := append(append([]Event(nil), all[:kept]...),
		Event{Seq: kept + 1, Time: noon, Kind: KindLog, Step: "b", Stream: "stdout", Line: []byte("after the restart")},
		Event{Seq: kept + 2, Time: noon, Kind: KindBuild, State: Succeeded})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s cut at %d (-want +got):\n%s", file, len(torn), diff)
	}
}

// What had been brought to the disk, and is not there, was not lost with the power: it is damage, and nothing is cut off.
func TestDamageIsNoTornTail(t *testing.T) {
	w, dir := create(t, Options{Build: "b1"})
	story(w)
	w.syncer.sync(w)
	safe := int(w.size)
	story(w)
	w.die()
	index, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		change func(dir string) error
		want   error
	}{
		{"a line in the middle", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fileName), bytes.Replace(index, []byte(`"kind"`), []byte("kind"), 1), 0o644)
		}, ErrDamaged},
		{"the end", func(dir string) error { return os.Truncate(filepath.Join(dir, fileName), int64(safe-1)) }, ErrDamaged},
		{"a log", func(dir string) error { return os.Remove(filepath.Join(dir, LogPath("a"))) }, ErrDamaged},
		{"the end of a log", func(dir string) error { return os.Truncate(filepath.Join(dir, LogPath("a")), 50) }, ErrDamaged},
		{"what was not brought to the disk", func(dir string) error { return os.Truncate(filepath.Join(dir, fileName), int64(safe+20)) }, nil},
		{"nothing", func(string) error { return nil }, nil},
	} {
		dir := copyDir(t, dir)
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(filepath.Join(dir, fileName))
		w, _, err := Reopen(dir, Options{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s is missing: %v, want %v", c.what, err, c.want)
		}
		if w != nil {
			w.die()
			continue
		}
		if after, _ := os.ReadFile(filepath.Join(dir, fileName)); !bytes.Equal(before, after) {
			t.Errorf("%s is missing: the journal was changed", c.what)
		}
	}
}

// Text that is not what was written is told, not handed out.
func TestChangedText(t *testing.T) {
	w, dir := create(t, Options{Build: "b1"})
	story(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, LogPath("a"))
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(text, []byte("a1"), []byte("x1"), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for e, err := range Read(dir) {
		if last = err; err == nil && string(e.Line) == "x1" {
			t.Error("it was handed out")
		}
	}
	if last == nil || !strings.Contains(last.Error(), "are not those that were written") {
		t.Errorf("reading ends with %v", last)
	}
}

// A process that is killed loses nothing that was flushed, and the number of the next entry follows.
func TestReopenLosesNothing(t *testing.T) {
	w, dir := create(t, Options{Build: "b1"})
	story(w)
	all := read(t, dir)
	if _, _, err := Reopen(dir, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Reopen while the writer lives: %v, want ErrExist", err)
	}
	w.die()
	again, torn, err := Reopen(dir, Options{})
	if err != nil || torn != 0 {
		t.Fatalf("Reopen: %d bytes torn, %v", torn, err)
	}
	if h := again.Header(); h.Build != "b1" || h.Version != Version {
		t.Errorf("header %+v", h)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, read(t, dir)); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
}

func TestReopenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"newer version": {`{"journal":99,"build":"b"}` + "\n{\"what\":1}\n", ErrNewer},
		"nothing":       {"", nil},
		"no journal":    {`{"hello":"world"}` + "\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Reopen(dir, Options{}); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Reopen: %v, want %v", err, c.want)
			}
			for _, err := range Read(dir) {
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("Read: %v, want %v", err, c.want)
				}
			}
			if got, _ := os.ReadFile(path); string(got) != c.text {
				t.Errorf("it was changed to %q", got)
			}
		})
	}
	if _, _, err := Reopen(t.TempDir(), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Reopen where there is no journal: %v, want ErrNotExist", err)
	}
}

// A reader may begin behind any entry, also one that is not there yet.
func TestOpenAfter(t *testing.T) {
	w, dir := create(t, Options{})
	log, other := w.Log("a"), w.Log("other")
	for i := range 3000 {
		log.Write(noon, "", []string{"stdout", "stderr"}[i/3%2], fmt.Appendf(nil, "%d", i), i%5 == 0)
		if i%7 == 0 {
			log.Flush()
			w.Append(Event{Time: noon, Kind: KindWarning, Reason: strings.Repeat("w", i)})
		}
		if i%100 == 0 {
			other.Write(noon, "", "stdout", nil, false)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	if len(all) != int(w.Last()) {
		t.Fatalf("%d entries, the last is %d", len(all), w.Last())
	}
	for after := range all {
		if after%17 != 0 && after > 50 && after < len(all)-50 {
			continue
		}
		r, err := OpenAfter(dir, uint64(after))
		if err != nil {
			t.Fatal(err)
		}
		events, err := r.Next()
		if err != nil || events[0].Seq != uint64(after+1) {
			t.Fatalf("behind %d: %v, %v", after, events, err)
		}
		if diff := cmp.Diff(all[after:after+len(events)], events); diff != "" {
			t.Fatalf("behind %d:\n%s", after, diff)
		}
		_ = r.Close()
	}
	for _, after := range []uint64{w.Last(), w.Last() + 1, w.Last() + 1000} {
		r, err := OpenAfter(dir, after)
		if err != nil {
			t.Fatal(err)
		}
		if events, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("behind %d of %d: %v, %v", after, w.Last(), events, err)
		}
		_ = r.Close()
	}
}

// A batch is cut into pieces that hold the same.
func TestCut(t *testing.T) {
	w, dir := create(t, Options{})
	log := w.Log("s")
	for i := range 200 {
		log.Write(noon, "", []string{"stdout", "stderr"}[i/3%2], []byte(strings.Repeat("x", i)), false)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	for _, most := range []int{1, 50, 100, 1000, 1 << 20} {
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		var got []Event
		for {
			b, err := r.NextBatch()
			if errors.Is(err, io.EOF) {
				break
			}
			for err == nil && b.First != 0 {
				var piece *Batch
				if piece, err = b.Cut(most); err != nil {
					break
				}
				if len(piece.Text) > most && piece.Len() > 1 {
					t.Errorf("a piece of %d bytes has %d lines", len(piece.Text), piece.Len())
				}
				got, err = d.Append(got, piece)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = r.Close()
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("pieces of %d bytes (-whole +pieces):\n%s", most, diff)
		}
	}
}

// What goes beyond a limit is not kept; the log says so, and the build goes on.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		opts Options
		want string
	}{
		{"step", Options{StepLimit: 500}, "the limit of this step's log, 500 bytes, is reached: what follows is not kept"},
		{"build", Options{BuildLimit: 500}, "the limit of the build's logs, 500 bytes, is reached: what follows is not kept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, dir := create(t, c.opts)
			log := w.Log("s")
			for i := range 100 {
				log.Write(noon, "", "stdout", fmt.Appendf(nil, "line %2d", i), false)
				log.Flush()
			}
			lines, bytes := log.Dropped()
			if lines != 88 || bytes != 88*7 {
				t.Errorf("dropped %d lines with %d bytes, want 88 with 616", lines, bytes)
			}
			w.Append(Event{Time: noon, Kind: KindStep, Step: "s", State: Succeeded})
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			events := read(t, dir)
			if len(events) != 14 || string(events[11].Line) != "line 11" {
				t.Fatalf("%d entries: %v", len(events), events)
			}
			if said := events[12]; said.Stream != StreamWharf || string(said.Line) != c.want {
				t.Errorf("the log says %q on %s", said.Line, said.Stream)
			}
		})
	}
}
