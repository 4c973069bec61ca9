package drivertest_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// TestFaultsCatch runs cases under faults on drivers that do not bear them.
func TestFaultsCatch(t *testing.T) {
	for name, test := range map[string]struct {
		cases string
		hook  func(b *hooks, cut <-chan struct{})
	}{
		"a cut is the end of the log": {"^logs/(every-line|rotation)$", func(b *hooks, cut <-chan struct{}) {
			b.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
				r, err := d.Logs(ctx, id, opts)
				return &endsEarly{LogReader: r, cut: cut}, err
			}
		}},
		"a cut is a success": {"^results/(exit-code-1|killed-inside|wait-after-exit)$", func(b *hooks, cut <-chan struct{}) {
			b.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
				<-cut
				return driver.Result{Outcome: driver.Exited}, nil
			}
		}},
		"the cursor is forgotten": {"^logs/(every-line|rotation)$", func(b *hooks, _ <-chan struct{}) {
			b.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
				opts.From = ""
				r, err := d.Logs(ctx, id, opts)
				return &breaksOnce{LogReader: r}, err
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := loaded(t)
			open := h.OpenCuttable
			h.OpenCuttable = func(ctx context.Context, owner string) (driver.Driver, drivertest.Line, error) {
				d, line, err := open(ctx, owner)
				b, cut := &hooks{Driver: d}, make(chan struct{})
				test.hook(b, cut)
				var once sync.Once
				through := line.Cut
				line.Cut = func() {
					once.Do(func() { close(cut) })
					through()
				}
				return b, line, err
			}
			caught := 0
			for _, c := range drivertest.Cases() {
				if !regexp.MustCompile(test.cases).MatchString(c.ID) {
					continue
				}
				report, err := drivertest.RunOneUnderFaults(t.Context(), h, c, 1)
				if err != nil {
					t.Fatal(err)
				}
				if report.Passed() {
					t.Errorf("%s passes", c.ID)
					continue
				}
				caught++
				if !strings.Contains(report.String(), "seed 1") {
					t.Errorf("the report does not tell the seed:\n%s", report)
				}
			}
			if caught == 0 {
				t.Error("nothing was caught")
			}
		})
	}
}

// breaksOnce is unavailable after its hundredth entry.
type breaksOnce struct {
	driver.LogReader
	n int
}

func (r *breaksOnce) Next() (driver.LogEntry, error) {
	if r.n++; r.n == 100 {
		return driver.LogEntry{}, driver.WithClass(errdefs.ErrUnavailable, "the connection broke")
	}
	return r.LogReader.Next()
}
