package server_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/server"
)

// stored is a build of which only the journal is there.
type stored struct {
	dir    string
	writer *journal.Writer
}

func (s *stored) ID() string               { return "stored" }
func (s *stored) Results() string          { return s.dir }
func (s *stored) Journal() *journal.Writer { return s.writer }
func (s *stored) Stop(string, bool)        {}

// store serves a journal, and returns an address.
func store(b testing.TB) (*stored, string) {
	b.Helper()
	s := &stored{dir: b.TempDir()}
	var err error
	if s.writer, err = journal.Create(s.dir, journal.Options{}); err != nil {
		b.Fatal(err)
	}
	srv, err := server.New(server.Config{Build: s, Token: token})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	b.Cleanup(func() {
		_ = s.writer.Close()
		srv.Close()
	})
	return s, l.Addr().String()
}

// line has 100 bytes.
var line = bytes.Repeat([]byte("0123456789"), 10)

// write writes lines as fast as it can.
func (s *stored) write(n int) {
	log := s.writer.Log("step")
	now := time.Now()
	for i := range n {
		log.Write(now.Add(time.Duration(i)*time.Microsecond), "", "stdout", line, false)
	}
	log.Flush()
}

// follow reads to the end, or to n lines, and returns how many came.
func follow(ctx context.Context, b *testing.B, addr string, n int) int {
	c, err := client.Dial(addr, client.Options{Token: token})
	if err != nil {
		b.Error(err)
		return 0
	}
	defer c.Close()
	got := 0
	for batch, err := range c.Batches(ctx, client.ReadOptions{Follow: true}) {
		if err != nil {
			b.Error(err)
			return got
		}
		if got += batch.Len(); got >= n {
			return got
		}
	}
	return got
}

// BenchmarkStream has one client read a journal of a million lines of 100 bytes that is stored. Target: 1.5 million lines a second.
func BenchmarkStream(b *testing.B) {
	s, addr := store(b)
	const lines = 1_000_000
	s.write(lines)
	for b.Loop() {
		if got := follow(b.Context(), b, addr, lines); got != lines {
			b.Fatalf("%d lines came", got)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkFollowers has a build write 20,000 lines a second for two seconds, followed by nobody or by ten clients, and reports how long that took it.
func BenchmarkFollowers(b *testing.B) {
	for name, clients := range map[string]int{"none": 0, "ten": 10} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, addr := store(b)
				const lines = 40_000
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						if got := follow(b.Context(), b, addr, lines); got != lines {
							b.Errorf("%d lines came", got)
						}
					})
				}
				ticks := time.NewTicker(time.Millisecond)
				for range lines / 20 {
					<-ticks.C
					s.write(20)
				}
				ticks.Stop()
				b.StopTimer()
				wg.Wait()
				b.StartTimer()
			}
		})
	}
}
