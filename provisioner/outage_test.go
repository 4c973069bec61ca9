package provisioner_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// page takes what is logged.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// TestHangingCall: one call that hangs does not stop the queue for ever, and the log says what hung.
func TestHangingCall(t *testing.T) {
	for _, op := range []string{"list", "list volumes", "create volume"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T, y *yard) {
				var log page
				p, d := y.opened(t, func(c *provisioner.Config) { c.Log = hclog.New(&hclog.LoggerOptions{Output: &log}) })
				until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
				id := workerMadeBy(t, y, 2)
				d.Inject(fake.Fault{Op: op, Times: 1, Delay: make(chan struct{})})
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if w, err := p.Worker(id); err != nil || w.State != provisioner.Succeeded {
					t.Errorf("the worker is %+v, %v", w, err)
				}
				if s := log.String(); !strings.Contains(s, "the runtime has not done it within 30s") {
					t.Errorf("the log does not say why:\n%s", s)
				}
			})
		})
	}
}

// TestHangingCreate: whoever asks for a build is told when the runtime does not make it, and nothing is left.
func TestHangingCreate(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p, d := y.opened(t, nil)
		d.Inject(fake.Fault{Op: "create", Times: 1, Delay: make(chan struct{})})
		if _, _, err := p.Trigger(t.Context(), trigger(1)); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "the runtime has not done it within 4m0s") {
			t.Errorf("the trigger ends with %v", err)
		}
		y.empty(t)
		until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
	})
}

// workerMadeBy has another provisioner make a worker, and die.
func workerMadeBy(t *testing.T, y *yard, build uint64) string {
	t.Helper()
	d := y.Open("workers")
	defer d.Close()
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, p, trigger(build)).ID
}

// lagging is a driver whose list, and whose events, can be late or lost.
type lagging struct {
	*fake.Driver
	hold func() // between the runtime's answer and its arrival
	lose func(driver.Event) bool
}

func (l *lagging) List(ctx context.Context, o driver.ListOptions) ([]driver.Task, error) {
	tasks, err := l.Driver.List(ctx, o)
	if l.hold != nil && o.Labels[provisioner.LabelWorker] == "" { // one of all workers
		l.hold()
	}
	return tasks, err
}

func (l *lagging) Events(ctx context.Context, o driver.ListOptions, f func(driver.Event) error) error {
	return l.Driver.Events(ctx, o, func(ev driver.Event) error {
		if l.lose != nil && l.lose(ev) {
			return nil
		}
		return f(ev)
	})
}

// TestLateList: a list that comes minutes after it was made brings no worker back that was removed since.
func TestLateList(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		var mu sync.Mutex
		var late chan struct{}
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver = &lagging{Driver: c.Driver.(*fake.Driver), hold: func() {
				mu.Lock()
				wait := late
				mu.Unlock()
				if wait != nil {
					<-wait
				}
			}}
		})
		id := ask(t, p, trigger(1)).ID
		until(t, p, id, provisioner.Succeeded)
		mu.Lock()
		late = make(chan struct{})
		mu.Unlock()
		asked := make(chan error, 1)
		go func() { asked <- p.Delete(t.Context(), "somebody") }()
		synctest.Wait() // a list is under way
		if err := p.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		close(late)
		<-asked
		synctest.Wait()
		if w, err := p.Worker(id); err == nil {
			t.Errorf("the worker is back: %+v", w)
		}
	})
}

// TestLostEvents: what no event told of is known a minute later.
func TestLostEvents(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver = &lagging{Driver: c.Driver.(*fake.Driver), lose: func(driver.Event) bool { return true }}
		})
		id := ask(t, p, trigger(1)).ID
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if w, err := p.Worker(id); err != nil || w.State != provisioner.Succeeded {
			t.Errorf("the worker is %+v, %v", w, err)
		}
		if err := y.Remove(taskOf(t, y, id)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if w, err := p.Worker(id); !errors.Is(err, provisioner.ErrNoWorker) {
			t.Errorf("the removed worker is %+v, %v", w, err)
		}
	})
}

// TestRemovedBeforeStart: a worker that somebody has removed is dropped when its start says so, and holds no slot.
func TestRemovedBeforeStart(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		hold := make(chan struct{})
		p := y.open(t, func(c *provisioner.Config) {
			one(c)
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "start", Times: 1, Delay: hold})
			c.Driver = &lagging{Driver: c.Driver.(*fake.Driver), lose: func(ev driver.Event) bool { return ev.Removed }}
		})
		first, second := ask(t, p, trigger(1)), ask(t, p, trigger(2))
		synctest.Wait()
		if err := y.Remove(taskOf(t, y, first.ID)); err != nil {
			t.Fatal(err)
		}
		close(hold)
		until(t, p, second.ID, provisioner.Succeeded)
		if _, err := p.Worker(first.ID); !errors.Is(err, provisioner.ErrNoWorker) {
			t.Errorf("the first is there: %v", err)
		}
	})
}

// TestOneWarning: that workers of others are not known during an outage is said once.
func TestOneWarning(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		var log page
		p, d := y.opened(t, func(c *provisioner.Config) { c.Log = hclog.New(&hclog.LoggerOptions{Output: &log}) })
		synctest.Wait()
		calls := d.Calls()
		d.Inject(fake.Fault{Op: "list", Err: driver.WithClass(errdefs.ErrUnavailable, "not now")})
		id := workerMadeBy(t, y, 1)
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if n := strings.Count(log.String(), "[WARN]"); n != 1 {
			t.Errorf("there are %d warnings; want one:\n%s", n, log.String())
		}
		if n := d.Calls() - calls; n > 20 {
			t.Errorf("there were %d calls in 50 seconds of outage", n)
		}
		d.Heal()
		time.Sleep(15 * time.Second)
		until(t, p, id, provisioner.Succeeded)
	})
}

// TestAfterTheEnd: what is asked of a provisioner that has ended, or is ending, is refused, and nothing goes on in the background.
func TestAfterTheEnd(t *testing.T) {
	y := newYard()
	y.build = untilTold
	d := y.Open("workers")
	before := goleak.IgnoreCurrent()
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	id := ask(t, p, trigger(0)).ID
	until(t, p, id, provisioner.Running)
	var calls sync.WaitGroup
	for n := range uint64(20) {
		calls.Go(func() {
			if n == 10 {
				cancel()
			}
			_, _, _ = p.Trigger(t.Context(), trigger(n+1))
			for _, w := range p.Workers() {
				_ = p.Delete(t.Context(), w.ID)
			}
		})
	}
	calls.Wait()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, err := p.Trigger(t.Context(), trigger(1)); !errors.Is(err, provisioner.ErrClosing) {
		t.Errorf("a trigger after the end: %v", err)
	}
	for _, w := range p.Workers() {
		if err := p.Delete(t.Context(), w.ID); !errors.Is(err, provisioner.ErrClosing) {
			t.Errorf("a deletion after the end: %v", err)
		}
	}
	tasks, err := d.List(t.Context(), driver.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(tasks)
	for _, task := range tasks { // those that run are the runtime's goroutines
		if err := y.Remove(task.ID); err != nil {
			t.Error(err)
		}
	}
	d.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
