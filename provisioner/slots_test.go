package provisioner_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// byName removes volumes as Docker and Podman do: it looks whether the volume is the one that is meant, and then removes whatever has its name.
type byName struct {
	*fake.Driver
	between func(driver.Volume) (dies bool) // may wait; the process may die when the volume is removed
}

func (b *byName) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	find := func(is func(driver.Volume) bool) (driver.Volume, bool) {
		all, _ := b.Driver.ListVolumes(ctx, driver.ListOptions{})
		for _, v := range all {
			if is(v) {
				return v, true
			}
		}
		return driver.Volume{}, false
	}
	meant, there := find(func(v driver.Volume) bool { return v.ID == id })
	if !there {
		return nil
	}
	dies := b.between(meant)
	if dies {
		defer b.Driver.Close()
	}
	found, there := find(func(v driver.Volume) bool { return v.Name == meant.Name })
	if !there {
		return nil
	}
	return b.Driver.RemoveVolume(ctx, found.ID)
}

func one(c *provisioner.Config) { c.Limits.Total = 1 }

// TestLateRemoval has a provisioner stop in the midst of removing a slot until another has removed it and given it to the next worker, and then remove it and die.
func TestLateRemoval(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = untilTold
		var stopped atomic.Bool
		goOn := make(chan struct{})
		slow := y.open(t, func(c *provisioner.Config) {
			one(c)
			c.Driver = &byName{c.Driver.(*fake.Driver), func(v driver.Volume) bool {
				late := v.Labels[provisioner.LabelRole] == "slot" && stopped.CompareAndSwap(false, true)
				if late {
					<-goOn
				}
				return late
			}}
		})
		first, second := ask(t, slow, trigger(1)), ask(t, slow, trigger(2))
		until(t, slow, first.ID, provisioner.Running)
		if err := y.Signal(taskOf(t, y, first.ID), 15); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		quick := y.open(t, one)
		until(t, quick, second.ID, provisioner.Running)
		close(goOn)
		third := ask(t, quick, trigger(3))
		time.Sleep(time.Minute)
		synctest.Wait()
		if w, err := quick.Worker(third.ID); err != nil || w.State != provisioner.Queued || y.most != 1 {
			t.Errorf("with a limit of one, %d ran at once; the third is %+v, %v", y.most, w, err)
		}
		if !stopped.Load() {
			t.Error("the removal that was to be late did not come")
		}
	})
}

// TestTakenAtOnce has two provisioners that know of one worker each take slots at the same moment.
func TestTakenAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = untilTold
		both := make(chan struct{})
		var n atomic.Int32
		meeting := func(c *provisioner.Config) {
			one(c)
			c.Driver = &together{Driver: c.Driver.(*fake.Driver), meet: func() {
				if n.Add(1) == 2 {
					close(both)
				}
				select {
				case <-both:
				case <-time.After(time.Second):
				}
			}}
		}
		p, q := y.open(t, meeting), y.open(t, meeting)
		synctest.Wait()
		a, b := ask(t, p, trigger(1)), ask(t, q, trigger(2))
		time.Sleep(time.Minute)
		synctest.Wait()
		running := 0
		for _, w := range p.Workers() {
			if w.State == provisioner.Running {
				running++
			}
		}
		if running != 1 || y.most != 1 {
			t.Errorf("of %s and %s %d run, %d at most; want one", a.ID, b.ID, running, y.most)
		}
	})
}

// TestSameTakenAtOnce has two provisioners take slots of the same worker at the same moment: one starts it.
func TestSameTakenAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		var met, started atomic.Int32
		both := make(chan struct{})
		open := func() *provisioner.Provisioner {
			return y.open(t, func(c *provisioner.Config) {
				c.Driver = &together{Driver: c.Driver.(*fake.Driver), started: &started, meet: func() {
					if met.Add(1) == 2 {
						close(both)
					}
					select {
					case <-both:
					case <-time.After(time.Second):
						t.Error("there is no other")
					}
				}}
			})
		}
		p, _ := open(), open()
		synctest.Wait()
		until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
		if n := started.Load(); n != 1 {
			t.Errorf("the worker was started %d times", n)
		}
	})
}

// together is a driver that makes slots when another is just about to, and counts starts.
type together struct {
	*fake.Driver
	meet    func()
	started *atomic.Int32
}

func (m *together) Start(ctx context.Context, id driver.TaskID) error {
	if m.started != nil {
		m.started.Add(1)
		time.Sleep(100 * time.Millisecond) // so long nobody else knows of it
	}
	return m.Driver.Start(ctx, id)
}

func (m *together) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	if spec.Labels[provisioner.LabelRole] == "slot" {
		m.meet()
	}
	return m.Driver.CreateVolume(ctx, spec)
}

// TestDeadTakers has two provisioners die when each has taken the only slot for another worker: neither is started by them, and both are in the end.
func TestDeadTakers(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			one(c)
			d := c.Driver.(*fake.Driver)
			c.Driver = d
		})
		d := y.Open("workers")
		defer d.Close()
		d2 := y.Open("workers")
		defer d2.Close()
		for build := range uint64(2) {
			dying := &mortal{Driver: d2, op: "start", err: errDead}
			first, err := provisioner.New(provisioner.Config{Driver: dying, Image: "worker", WorkerKey: []byte("0123456789abcdef"), Limits: provisioner.Limits{Total: 2}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- first.Run(ctx) }()
			ask(t, first, trigger(build))
			synctest.Wait()
			dying.die()
			cancel()
			<-done
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for _, w := range p.Workers() {
			if w.State != provisioner.Succeeded {
				t.Errorf("worker %s is %s: %s", w.ID, w.State, w.Reason)
			}
		}
		if len(p.Workers()) != 2 || y.most != 1 {
			t.Errorf("there are %d workers, and %d ran at once; want two, one after the other", len(p.Workers()), y.most)
		}
	})
}
