package fake

import (
	"context"
	"time"

	"github.com/wharfci/wharf/driver"
)

// start runs the task, if it was not started before.
func (t *task) start() {
	t.mu.Lock()
	first := t.state == driver.StateCreated
	if first {
		t.state = driver.StateStarting
	}
	t.mu.Unlock()
	if first {
		t.rt.publish(t, false)
		go func() { t.end(t.live()) }()
	}
}

var stopped = driver.Result{Outcome: driver.Stopped}

// live takes the task from its first container to its last, and returns how it ended.
func (t *task) live() driver.Result {
	for _, b := range t.init {
		if res, ok := t.initialize(b); !ok {
			return res
		}
	}
	defer t.endServices()
	died := make(chan driver.Result, len(t.services))
	for i, b := range t.services {
		if ok, err := t.startBox(b); err != nil {
			return driver.Result{Outcome: driver.ServiceFailed, Container: b.name, Code: -1, Reason: err.Error()}
		} else if !ok {
			return stopped
		}
		go t.watchService(t.services[i], died)
	}
	for i, b := range t.services {
		if res, ok := t.awaitReady(b, t.spec.Services[i].Ready, died); !ok {
			return res
		}
	}
	return t.runMain(died)
}

// startBox starts a container unless the task is being stopped: then it returns false.
func (t *task) startBox(b *box) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return false, nil
	}
	return true, b.start()
}

// initialize runs an init container to its end. If it returns false, the task has ended with the result.
func (t *task) initialize(b *box) (driver.Result, bool) {
	failed := driver.Result{Outcome: driver.InitFailed, Container: b.name}
	ok, err := t.startBox(b)
	if err != nil {
		failed.Code, failed.Reason = 127, err.Error()
		return failed, false
	}
	if !ok {
		return stopped, false
	}
	<-b.main.done
	b.killAll()
	t.journal.flush(b.name)
	if t.isStopping() {
		return stopped, false
	}
	failed.Code = b.main.exit.shell()
	if b.oom {
		failed.Reason = "out of memory"
	}
	return failed, failed.Code == 0
}

func (t *task) isStopping() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopping
}

func (t *task) watchService(b *box, died chan<- driver.Result) {
	<-b.main.done
	b.killAll()
	t.journal.flush(b.name)
	died <- driver.Result{
		Outcome: driver.ServiceFailed, Container: b.name, Code: b.main.exit.shell(), Reason: "the service ended before the main container",
	}
}

// awaitReady waits until a service is ready. If it returns false, the task has ended with the result.
func (t *task) awaitReady(b *box, r driver.Ready, died <-chan driver.Result) (driver.Result, bool) {
	if r.Timeout == 0 {
		r.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	ready := make(chan struct{})
	go func() {
		switch {
		case r.TCP != 0 && !t.net.listening(ctx, r.TCP):
		case r.Exec != nil && !b.succeeds(ctx, r.Exec):
		default:
			close(ready)
		}
	}()
	select {
	case <-ready:
		return driver.Result{}, true
	case res := <-died:
		if t.isStopping() {
			res = stopped
		}
		return res, false
	case <-ctx.Done():
		return driver.Result{
			Outcome: driver.ServiceFailed, Container: b.name, Code: -1, Reason: "not ready after " + r.Timeout.String(),
		}, false
	}
}

// checkInterval is the time between two attempts of a command that says whether a service is ready.
const checkInterval = 100 * time.Millisecond

// succeeds runs a command again and again until it exits with 0; false if ctx ends before.
func (b *box) succeeds(ctx context.Context, args []string) bool {
	for {
		p, err := b.process(args, nil, b.spec.Dir, b.spec.User)
		if err == nil {
			p.stdout = &sink{p, func([]byte) error { return nil }}
			p.stderr = p.stdout
			p.launch()
			select {
			case <-p.done:
			case <-ctx.Done():
				p.signal(9)
			}
			if p.exit.shell() == 0 {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(checkInterval):
		}
	}
}

func (t *task) runMain(died <-chan driver.Result) driver.Result {
	b := t.main
	t.mu.Lock()
	if t.stopping {
		t.mu.Unlock()
		return stopped
	}
	began := t.rt.now()
	if err := b.start(); err != nil {
		t.mu.Unlock()
		return driver.Result{Outcome: driver.StartFailed, Reason: err.Error()}
	}
	t.began = began
	t.mu.Unlock()
	t.set(driver.StateRunning)
	t.mu.Lock()
	if t.state != driver.StateEnded {
		close(t.started)
	}
	t.mu.Unlock()
	var res driver.Result
	select {
	case <-b.main.done:
		b.killAll()
		res = b.result()
	case res = <-died:
		if t.isStopping() { // the service obeyed the stop before the main process did
			<-b.main.done
			res = b.result()
		}
		b.killAll()
	}
	res.Ended = t.rt.now()
	t.journal.flush(b.name)
	return res
}

// result is how the main process ended.
func (b *box) result() driver.Result {
	how := b.main.exit
	b.mu.Lock()
	oom := b.oom
	b.mu.Unlock()
	switch {
	case oom && how.shell() != 0:
		return driver.Result{Outcome: driver.OutOfMemory, Code: how.shell()}
	case how.signal != 0:
		return driver.Result{Outcome: driver.Signaled, Signal: how.signal, Code: how.shell()}
	}
	return driver.Result{Outcome: driver.Exited, Code: how.code}
}

// endServices ends what runs beside the main container.
func (t *task) endServices() {
	timer := time.NewTimer(t.rt.cfg.ServiceGrace)
	defer timer.Stop()
	for _, b := range t.services {
		b.signal(15)
	}
	for _, b := range t.services {
		if b.main == nil {
			continue
		}
		select {
		case <-b.main.done:
		case <-timer.C:
			for _, b := range t.services {
				b.killAll()
			}
			<-b.main.done
		}
		b.killAll()
		t.journal.flush(b.name)
	}
}
