package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever the files of a results directory hold, it is read up to where it stops making sense, and gone on with or refused.
func FuzzFiles(f *testing.F) {
	dir := f.TempDir()
	w, err := Create(dir, Options{Build: "b"})
	if err != nil {
		f.Fatal(err)
	}
	w.Append(Event{Kind: KindBuild, State: Running})
	log := w.Log("s")
	log.Write(time.Unix(1, 2), "", "stdout", []byte("a line"), false)
	log.Write(time.Unix(1, 3), "db", "stderr", []byte("an"), true)
	log.Write(time.Unix(2, 3), "db", "stderr", []byte("other"), false)
	log.Close()
	w.Append(Event{Kind: KindBuild, State: Succeeded})
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, LogPath("s")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index, text)
	f.Add(index[:len(index)-20], text)
	f.Add(index, text[:len(text)-20])
	f.Fuzz(func(t *testing.T, index, text []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "steps", "s"), 0o755); err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string][]byte{fileName: index, LogPath("s"): text} {
			if err := os.WriteFile(filepath.Join(dir, path), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := numbers(t, dir)
		if r, err := OpenAfter(dir, uint64(before/2)); err == nil {
			_ = r.All(func(*Batch) {})
			_ = r.Close()
		}
		w, _, err := Reopen(dir, Options{})
		if err != nil {
			return
		}
		last := w.Last()
		w.Append(Event{Kind: KindBuild, State: Failed})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if n := numbers(t, dir); uint64(n) != last+1 {
			t.Errorf("%d entries can be read; the last one was given the number %d", n, last+1)
		}
	})
}

// numbers reads what can be read, and returns how many entries that is.
func numbers(t *testing.T, dir string) (n int) {
	t.Helper()
	for e, err := range Read(dir) {
		if err != nil {
			break
		}
		if n++; e.Seq != uint64(n) {
			t.Errorf("entry %d has the number %d", n, e.Seq)
		}
	}
	return n
}
