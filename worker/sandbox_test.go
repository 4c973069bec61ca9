package worker

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// crowded counts the tasks that run in each sandbox. Copying out takes a while: a step has ended then, and is not cleared away.
type crowded struct {
	*fake.Driver
	mu      sync.Mutex
	sandbox map[driver.TaskID]driver.SandboxID
	running map[driver.SandboxID]int
	uses    int
	most    int
}

func (c *crowded) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	id, err := c.Driver.Create(ctx, spec)
	c.mu.Lock()
	defer c.mu.Unlock()
	if spec.Sandbox != "" {
		c.sandbox[id] = spec.Sandbox
	}
	return id, err
}

func (c *crowded) Start(ctx context.Context, id driver.TaskID) error {
	c.count(id, 1)
	return c.Driver.Start(ctx, id)
}

func (c *crowded) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	defer c.count(id, -1)
	return c.Driver.Wait(ctx, id)
}

func (c *crowded) count(id driver.TaskID, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sandbox[id]; ok {
		c.running[s] += n
		c.uses += max(n, 0)
		c.most = max(c.most, c.running[s])
	}
}

func (c *crowded) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	time.Sleep(time.Second)
	return c.Driver.CopyOut(ctx, opts)
}

// A sandbox never has two tasks that run at once, also while the one that had it before is being cleared away.
func TestSandboxesAreNotShared(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		d := &crowded{Driver: b.d, sandbox: map[driver.TaskID]driver.SandboxID{}, running: map[driver.SandboxID]int{}}
		var text strings.Builder
		for _, stage := range []string{"a", "b"} {
			fmt.Fprintf(&text, "%s:\n", stage)
			for i := range 30 {
				fmt.Fprintf(&text, "  s%d:\n    container:\n      image: img\n      cmds: [sleep 1]\n      artifacts: [f]\n", i)
			}
		}
		cfg := b.config(plan(t, text.String()))
		cfg.Driver = d
		if out := b.run(cfg); out.State != Succeeded {
			t.Fatalf("outcome %+v", out)
		}
		if d.uses < 30 || d.most != 1 {
			t.Errorf("%d tasks ran in sandboxes, at most %d at once in one; want 30 or more, and 1", d.uses, d.most)
		}
	})
}
