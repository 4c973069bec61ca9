package tty

import (
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker"
)

// tail holds the last lines of a log as they came; they are cleaned only when they are shown. It copies what it takes
// into buffers that it uses again, so that a million lines cost no memory.
type tail struct {
	lines [tailLines][]byte
	n     int // lines taken so far
	open  bool
}

func (t *tail) add(e *worker.Event) {
	if !t.open {
		t.n++
		t.lines[t.n%tailLines] = t.lines[t.n%tailLines][:0]
	}
	line := &t.lines[t.n%tailLines]
	*line = append(*line, e.Line[:min(len(e.Line), max(0, tailBytes-len(*line)))]...)
	t.open = e.Partial
}

// last returns at most n of the last lines, oldest first, ready to be shown.
func (t *tail) last(n int) []string {
	n = min(n, t.n, tailLines)
	out := make([]string, 0, max(n, 0))
	for i := t.n - n + 1; i <= t.n; i++ {
		out = append(out, string(text.Append(nil, t.lines[i%tailLines], text.Options{TabStop: 8})))
	}
	return out
}
