package provisioner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/report"
)

// TestAskedAgainWhileDeleted asks for a build anew when its worker's task is gone and its volume is not.
func TestAskedAgainWhileDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.clone = func(_ context.Context, p *fake.Proc) int {
			if err := p.Mkdir("/work/repository", 0o755); err != nil {
				fmt.Fprintln(p.Stderr(), err)
				return 3
			}
			return 0
		}
		goOn := make(chan struct{})
		var held atomic.Bool
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver = &byName{c.Driver.(*fake.Driver), func(v driver.Volume) bool {
				if v.Labels[provisioner.LabelRole] == "worker" && held.CompareAndSwap(false, true) {
					<-goOn
				}
				return false
			}}
		})
		id := ask(t, p, trigger(1)).ID
		until(t, p, id, provisioner.Succeeded)
		done := make(chan error, 1)
		go func() { done <- p.Delete(t.Context(), id) }()
		synctest.Wait()
		ask(t, p, trigger(1))
		if w := until(t, p, id, provisioner.Succeeded, provisioner.Failed); w.State != provisioner.Succeeded {
			t.Errorf("the second worker is %s: %s", w.State, w.Reason)
		}
		close(goOn)
		if err := <-done; err != nil || !held.Load() {
			t.Error(held.Load(), err)
		}
		volumes := 0
		for _, left := range y.Left("workers") {
			if strings.HasPrefix(left, "volume") && strings.Contains(left, id) {
				volumes++
			}
		}
		if volumes != 1 {
			t.Errorf("the second worker has %d volumes: %v", volumes, y.Left("workers"))
		}
	})
}

// TestLostRace: whoever is too late with a worker takes back the volume that it has made for it.
func TestLostRace(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = untilTold
		q := y.open(t, nil)
		var once atomic.Bool
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver = &watched{Driver: c.Driver.(*fake.Driver), created: func(driver.TaskSpec) {
				if once.CompareAndSwap(false, true) {
					ask(t, q, trigger(1))
				}
			}}
		})
		w, made, err := p.Trigger(t.Context(), trigger(1))
		if err != nil || made {
			t.Fatal(w, made, err)
		}
		until(t, p, w.ID, provisioner.Running)
		n := 0
		for _, left := range y.Left("workers") {
			if strings.HasPrefix(left, "volume") && strings.Contains(left, w.ID) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the worker has %d volumes: %v", n, y.Left("workers"))
		}
	})
}

// TestDeleteAgain repeats deletions that have failed at one of their calls, until nothing is left.
func TestDeleteAgain(t *testing.T) {
	for _, op := range []string{"stop", "remove", "remove volume", "builds list", "builds remove", "builds list volumes", "builds remove volume"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T, y *yard) {
				y.build = untilTold
				var d, builds *fake.Driver
				p := y.open(t, func(c *provisioner.Config) {
					d, builds = c.Driver.(*fake.Driver), c.Builds.(*fake.Driver)
				})
				id := ask(t, p, trigger(1)).ID
				until(t, p, id, provisioner.Running)
				left(t, builds, id)
				synctest.Wait()
				name, of := strings.CutPrefix(op, "builds ")
				target := map[bool]*fake.Driver{true: builds, false: d}[of]
				target.Inject(fake.Fault{Op: name, Err: driver.WithClass(errdefs.ErrUnavailable, "not now")})
				if err := p.Delete(t.Context(), id); !errdefs.IsUnavailable(err) {
					t.Fatalf("a deletion without %s: %v", op, err)
				}
				target.Heal()
				if err := p.Delete(t.Context(), id); err != nil {
					t.Errorf("the second deletion: %v", err)
				}
				time.Sleep(time.Minute) // slots are given back by themselves
				synctest.Wait()
				y.empty(t)
				if err := p.Delete(t.Context(), id); !errors.Is(err, provisioner.ErrNoWorker) {
					t.Errorf("the third deletion: %v", err)
				}
			})
		})
	}
}

// left makes what a build may leave.
func left(t *testing.T, builds *fake.Driver, id string) {
	t.Helper()
	labels := map[string]string{provisioner.LabelWorker: id}
	_, err := builds.CreateVolume(t.Context(), driver.VolumeSpec{Name: "left-" + id, Labels: labels})
	if err == nil {
		_, err = builds.Create(t.Context(), driver.TaskSpec{Name: "left-" + id, Labels: labels, Container: driver.Container{Image: "worker", Args: []string{"x"}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileDeleting lets a provisioner die at each of the calls of a deletion. The next one can delete what is left, or tidies it up by itself.
func TestKilledWhileDeleting(t *testing.T) {
	for _, op := range []string{"stop", "remove", "list volumes", "remove volume", "list"} {
		for _, behind := range []bool{false, true} {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %v %v", op, behind, again), func(t *testing.T) {
					bubble(t, func(t *testing.T, y *yard) { killedDeleting(t, y, op, behind, again) })
				})
			}
		}
	}
}

func killedDeleting(t *testing.T, y *yard, op string, behind, again bool) {
	y.build = untilTold
	d, builds := &mortal{Driver: y.Open("workers"), behind: behind, err: errDead}, y.Open("builds")
	first, err := provisioner.New(provisioner.Config{Driver: d, Builds: builds, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	id := ask(t, first, trigger(1)).ID
	until(t, first, id, provisioner.Running)
	left(t, builds, id)
	synctest.Wait()
	d.arm(op)
	_ = first.Delete(t.Context(), id)
	d.die()
	cancel()
	<-done
	d.Driver.Close()
	builds.Close()

	second := y.open(t, func(c *provisioner.Config) { c.Keep = 10 * time.Minute })
	time.Sleep(time.Minute)
	if again {
		if err := second.Delete(t.Context(), id); err != nil && !errors.Is(err, provisioner.ErrNoWorker) {
			t.Error(err)
		}
		synctest.Wait()
		y.empty(t)
		return
	}
	if w, err := second.Worker(id); err == nil && w.State == provisioner.Running {
		if err := y.Signal(taskOf(t, y, id), 15); err != nil {
			t.Error(err)
		}
	}
	y.later(t)
}

// TestReleasedStubborn removes a released worker that cannot be removed at first.
func TestReleasedStubborn(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = func(_ context.Context, p *fake.Proc, _ string) int {
			report.Write(p.Stdout(), report.Line{State: report.Succeeded})
			report.Write(p.Stdout(), report.Line{State: report.Released})
			return 0
		}
		p, d := y.opened(t, nil)
		d.Inject(fake.Fault{Op: "remove", Times: 5, Err: driver.WithClass(errdefs.ErrUnavailable, "not now")})
		id := ask(t, p, trigger(1)).ID
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if w, err := p.Worker(id); err == nil {
			t.Errorf("the worker is still there: %+v", w)
		}
		y.empty(t)
	})
}

// TestFinished keeps as many as it shall, the youngest.
func TestFinished(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) { c.Limits.Finished = 3 })
		for build := range uint64(5) {
			until(t, p, ask(t, p, trigger(build)).ID, provisioner.Succeeded)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var kept []uint64
		for _, w := range p.Workers() {
			kept = append(kept, w.Build)
		}
		if fmt.Sprint(kept) != "[4 3 2]" {
			t.Errorf("the builds %v are kept; want the last three", kept)
		}
	})
}

// TestHangingRemoval: a worker whose removal hangs does not keep others from being removed when they were kept long enough.
func TestHangingRemoval(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p, d := y.opened(t, func(c *provisioner.Config) { c.Keep = time.Hour })
		for build := range uint64(3) {
			until(t, p, ask(t, p, trigger(build)).ID, provisioner.Succeeded)
		}
		d.Inject(fake.Fault{Op: "remove", Times: 1, Delay: make(chan struct{})})
		time.Sleep(time.Hour + 90*time.Second)
		synctest.Wait()
		if n := len(p.Workers()); n != 1 {
			t.Errorf("%d workers are there while one removal hangs; want one", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		y.empty(t)
	})
}

// TestHalfMade removes a worker whose making was cut off, and makes it anew when somebody asks.
func TestHalfMade(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprint(asks), func(t *testing.T) {
			bubble(t, func(t *testing.T, y *yard) {
				var half atomic.Value
				listed := func(tasks []driver.Task) {
					for i := range tasks {
						if tasks[i].ID == half.Load() {
							tasks[i].State, tasks[i].Incomplete = driver.StateUnknown, true
						}
					}
				}
				mute := func(task driver.TaskID) bool {
					h := half.Load()
					return h == nil || task == h
				}
				p := y.open(t, func(c *provisioner.Config) {
					c.Driver = &watched{Driver: c.Driver.(*fake.Driver), listed: listed, mute: mute}
				})
				time.Sleep(30 * time.Second) // so that it is old enough before it is next looked for such
				dead := y.Open("workers")
				defer dead.Close()
				maker, err := provisioner.New(provisioner.Config{Driver: dead, Image: "worker", WorkerKey: []byte("0123456789abcdef")}) // does not run
				if err != nil {
					t.Fatal(err)
				}
				id := ask(t, maker, trigger(1)).ID
				half.Store(taskOf(t, y, id))
				if err := p.Delete(t.Context(), "another"); !errors.Is(err, provisioner.ErrNoWorker) { // has the workers listed
					t.Error(err)
				}
				time.Sleep(80 * time.Second)
				synctest.Wait()
				if w, err := p.Worker(id); err != nil || w.State != provisioner.Queued || !strings.Contains(w.Reason, "being made or removed") || y.ran[id] != 0 {
					t.Errorf("the half is %+v, %v", w, err)
				}
				if !asks {
					time.Sleep(4 * time.Minute)
					synctest.Wait()
					if w, err := p.Worker(id); !errors.Is(err, provisioner.ErrNoWorker) {
						t.Errorf("the half is still there: %+v, %v", w, err)
					}
				} else {
					ask(t, p, trigger(1))
					until(t, p, id, provisioner.Succeeded)
					if err := p.Delete(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				y.later(t)
			})
		})
	}
}
