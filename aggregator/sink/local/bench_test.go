package local_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// hundred makes lines of 100 bytes.
func hundred(n int) []sink.Line {
	all := make([]sink.Line, n)
	for i := range all {
		all[i] = sink.Line{Time: time.Unix(1_780_000_000, int64(i)*1_000_000), Text: fmt.Appendf(nil, "%-100s", fmt.Sprintf("line %d: compiling the package number %d of this build", i, i*7919))}
	}
	return all
}

// BenchmarkAppend appends batches of 300 lines of 100 bytes, with a Commit after every so many of them, and tells lines a second.
func BenchmarkAppend(b *testing.B) {
	for _, every := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("commit-every-%d", every), func(b *testing.B) {
			s := open(b, b.TempDir(), local.Options{})
			r := s.Open(1, forever)
			batch := hundred(300)
			at, n := uint64(0), 0
			b.SetBytes(int64(len(batch) * 100))
			for b.Loop() {
				if err := r.Append(b.Context(), at, batch); err != nil {
					b.Fatal(err)
				}
				at += uint64(len(batch))
				if n++; n%every == 0 {
					if err := r.Commit(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := r.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// BenchmarkLog reads a log of 100,000 lines, and pages of 100 of them.
func BenchmarkLog(b *testing.B) {
	s := open(b, b.TempDir(), local.Options{})
	r := s.Open(1, forever)
	all := hundred(100_000)
	if err := r.Append(b.Context(), 0, all); err != nil {
		b.Fatal(err)
	}
	if err := r.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	h := s.Handler()
	for name, path := range map[string]string{"whole": "/api/build/1/log", "page": "/api/build/1/log?after=77777&limit=100"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.ServeHTTP(discard{}, httptest.NewRequest(http.MethodGet, path, nil))
			}
		})
	}
}

// discard is a client that reads and forgets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
