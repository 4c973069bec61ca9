package tty

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hinshun/vt10x"
)

// shown returns what stands on a terminal, without empty rows at the end.
func shown(vt vt10x.Terminal) []string {
	rows := strings.Split(vt.String(), "\n")
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	for len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

func check(t *testing.T, vt vt10x.Terminal, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, shown(vt)); diff != "" {
		t.Errorf("the terminal shows (-want +got):\n%s", diff)
	}
}

func TestScreenDrawsOverItself(t *testing.T) {
	vt := vt10x.New(vt10x.WithSize(20, 6))
	s := NewScreen(vt)
	fmt.Fprint(vt, "$ wharf run\r\n")
	s.Draw([]string{"one", "two"}, 20, 6)
	check(t, vt, "$ wharf run", "one", "two")
	s.Draw([]string{"one", "2"}, 20, 6)
	check(t, vt, "$ wharf run", "one", "2")
	s.Draw([]string{"one", "2", "three", "four"}, 20, 6)
	check(t, vt, "$ wharf run", "one", "2", "three", "four")
	s.Draw([]string{"one"}, 20, 6)
	check(t, vt, "$ wharf run", "one")
	s.Draw(nil, 20, 6)
	check(t, vt, "$ wharf run")
	s.Draw([]string{"again"}, 20, 6)
	if vt.CursorVisible() {
		t.Error("the cursor shows while a frame does")
	}
	s.Finish([]string{"done", "really"})
	check(t, vt, "$ wharf run", "done", "really")
	if c := vt.Cursor(); !vt.CursorVisible() || c.Y != 3 || c.X != 0 {
		t.Errorf("the cursor is at %d,%d, visible %t; want it visible below the last line", c.X, c.Y, vt.CursorVisible())
	}
}

func TestScreenScrollsAtTheBottom(t *testing.T) {
	vt := vt10x.New(vt10x.WithSize(20, 5))
	s := NewScreen(vt)
	fmt.Fprint(vt, "a\r\nb\r\nc\r\n$ wharf run\r\n")
	s.Draw([]string{"one", "two", "three"}, 20, 5)
	check(t, vt, "c", "$ wharf run", "one", "two", "three")
	s.Draw([]string{"1", "two", "3", "four"}, 20, 5)
	check(t, vt, "$ wharf run", "1", "two", "3", "four")
	s.Finish([]string{"done"})
	check(t, vt, "$ wharf run", "done")
}

func TestScreenSurvivesResize(t *testing.T) {
	vt := vt10x.New(vt10x.WithSize(40, 10))
	s := NewScreen(vt)
	fmt.Fprint(vt, "$ wharf run\r\n")
	for _, size := range [][2]int{{40, 10}, {12, 10}, {12, 4}, {60, 20}, {30, 3}, {40, 10}} {
		vt.Resize(size[0], size[1])
		lines := []string{strings.Repeat("x", size[0]-1), "middle", strings.Repeat("y", size[0]-1)}
		s.Draw(lines[:min(3, size[1]-1)], size[0], size[1])
	}
	got := shown(vt)
	want := []string{strings.Repeat("x", 39), "middle", strings.Repeat("y", 39)}
	if diff := cmp.Diff(want, got[len(got)-3:]); diff != "" {
		t.Errorf("after resizing (-want +got):\n%s", diff)
	}
	if n := strings.Count(strings.Join(got, "\n"), "middle"); n != 1 {
		t.Errorf("the frame stands there %d times:\n%s", n, strings.Join(got, "\n"))
	}
}

type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(p []byte) (int, error) { w.n++; return w.Buffer.Write(p) }

func TestScreenWritesOncePerFrameAndOnlyChanges(t *testing.T) {
	var w writes
	s := NewScreen(&w)
	s.Draw([]string{"stays", "changes"}, 20, 6)
	w.Reset()
	s.Draw([]string{"stays", "changed"}, 20, 6)
	s.Draw([]string{"stays", "changed"}, 20, 6)
	if out := w.String(); strings.Contains(out, "stays") || !strings.Contains(out, "changed") {
		t.Errorf("the second frame is %q", out)
	}
	if w.n != 2 {
		t.Errorf("%d writes for two frames and one that is equal", w.n)
	}
}

// What some terminals keep in the scrollback is a screen that is erased from its first cell on.
func TestScreenLeavesNoFramesInScrollback(t *testing.T) {
	var w writes
	s := NewScreen(&w)
	s.Draw([]string{"one", "two"}, 20, 6)
	s.Draw([]string{"one", "two"}, 30, 9)
	s.Finish([]string{"done"})
	s.Draw([]string{"again"}, 20, 6)
	s.Finish(nil)
	if out := w.String(); strings.Count(out, " "+eraseBelow) != 5 || strings.Count(out, eraseBelow) != 5 {
		t.Errorf("it writes %q, want each erasure to begin after a space", out)
	}
}
