package endtoend

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// desk is a server that the steps of builds report to: it counts them, and may keep them waiting.
type desk struct {
	t   testing.TB
	url string

	mu      sync.Mutex
	begun   map[int]int // how often the step of a build began
	ended   map[int]int
	now     int   // how many are between begin and end
	most    int   // of these at once
	order   []int // in which builds began
	pass    func(d *desk) bool
	changed chan bool // closed at each change
}

// newDesk opens one. A step that has begun waits until pass, which is asked at each change with the desk locked, lets it go; nil lets all.
func newDesk(t testing.TB, pass func(d *desk) bool) *desk {
	t.Helper()
	if pass == nil {
		pass = anybody
	}
	d := &desk{t: t, begun: map[int]int{}, ended: map[int]int{}, pass: pass, changed: make(chan bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{what}/{build}", func(w http.ResponseWriter, r *http.Request) {
		build, err := strconv.Atoi(r.PathValue("build"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch r.PathValue("what") {
		case "begin":
			d.note(func() { d.begun[build]++; d.now++; d.most, d.order = max(d.most, d.now), append(d.order, build) })
			_ = d.await(r.Context(), func(d *desk) bool { return d.pass(d) })
		case "end":
			d.note(func() { d.ended[build]++; d.now-- })
		default:
			http.NotFound(w, r)
		}
	})
	d.url = serve(t, mux)
	return d
}

// note makes a change.
func (d *desk) note(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan bool)
}

// await waits for something to be so.
func (d *desk) await(ctx context.Context, so func(d *desk) bool) error {
	for {
		d.mu.Lock()
		done, changed := so(d), d.changed
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// anybody and nobody are whom a desk lets go.
func anybody(*desk) bool { return true }
func nobody(*desk) bool  { return false }

// once wants every build that began to have done so once.
func (d *desk) once() {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for build, n := range d.begun {
		if n != 1 {
			d.t.Errorf("build %d began %d times", build, n)
		}
	}
}

// ran is how many builds have run to their end.
func (d *desk) ran() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ended)
}

// definition is a build whose only step comes by.
func (d *desk) definition() string {
	return fmt.Sprintf(`
visit:
  come-by:
    container:
      image: %s
      cmds:
        - wget -q -O /dev/null %s/begin/${BUILD_REF}
        - wget -q -O /dev/null %s/end/${BUILD_REF}
`, stepImage, d.url, d.url)
}
