package kubernetes

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// podWatch keeps the owner's pods as the API server tells of them, by one watch that begins with the first who asks and
// ends with Close.
type podWatch struct {
	d *Driver

	mu      sync.Mutex
	began   bool
	synced  chan struct{} // closed when the first list is there
	pods    map[string]*core.Pod
	gone    guard.IDs                // pods that were seen to be deleted
	changed map[string]chan struct{} // closed when a pod changes, by name
	any     chan struct{}            // closed when any does, or the connection
	failing error                    // why the API server is not heard, or nil
	since   time.Time
}

// begin starts the watch, unless it has begun.
func (w *podWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began || w.d.closed.Load() {
		return
	}
	w.began = true
	w.synced, w.any = make(chan struct{}), make(chan struct{})
	w.pods, w.changed = map[string]*core.Pod{}, map[string]chan struct{}{}
	w.d.tasks.Add(1)
	go func() {
		defer w.d.tasks.Done()
		w.run(w.d.ctx)
	}()
}

func (w *podWatch) run(ctx context.Context) {
	var b backoff
	for ctx.Err() == nil {
		err := w.follow(ctx, b.reset)
		if err == nil {
			continue
		}
		w.fail(err)
		if !b.wait(ctx) {
			return
		}
	}
}

// follow lists, and watches until the watch ends. The end that servers put to each watch after some minutes is no error.
func (w *podWatch) follow(ctx context.Context, good func()) error {
	opts := meta.ListOptions{LabelSelector: labelOwner + "=" + sum(w.d.owner)}
	list, err := w.d.api.CoreV1().Pods(w.d.namespace).List(ctx, opts)
	if err != nil {
		return err
	}
	w.replace(list.Items)
	good()
	opts.ResourceVersion, opts.AllowWatchBookmarks = list.ResourceVersion, true
	for {
		stream, err := w.d.api.CoreV1().Pods(w.d.namespace).Watch(ctx, opts)
		if err != nil {
			return err
		}
		opts.ResourceVersion, err = w.take(stream, opts.ResourceVersion)
		stream.Stop()
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return nil // list again
		}
		if err != nil {
			return err
		}
		good()
	}
}

var errWatchEnded = driver.WithClass(errdefs.ErrUnavailable, "the watch of the pods broke off")

func (w *podWatch) take(stream watch.Interface, version string) (string, error) {
	began := time.Now()
	for ev := range stream.ResultChan() {
		switch p := ev.Object.(type) {
		case *core.Pod:
			version = p.ResourceVersion
			if ev.Type == watch.Bookmark {
				continue
			}
			w.put(p, ev.Type == watch.Deleted)
		default:
			return version, apierrors.FromObject(ev.Object)
		}
	}
	if time.Since(began) < time.Minute { // no server ends one so early without need
		return version, errWatchEnded
	}
	return version, nil
}

func (w *podWatch) replace(items []core.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	there := map[string]bool{}
	for i := range items {
		p := &items[i]
		there[p.Name] = true
		if old := w.pods[p.Name]; old == nil || old.ResourceVersion != p.ResourceVersion {
			w.pods[p.Name] = p
			w.wake(p.Name)
		}
	}
	for name := range w.pods {
		if !there[name] {
			delete(w.pods, name)
			w.wake(name)
		}
	}
	w.failing = nil
	select {
	case <-w.synced:
	default:
		close(w.synced)
	}
	w.wake("")
}

// put takes a pod as it is now, or notes that it is gone.
func (w *podWatch) put(p *core.Pod, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.pods[p.Name]
	switch {
	case gone:
		w.gone.Add(string(p.UID))
		if old != nil && old.UID == p.UID {
			delete(w.pods, p.Name)
		}
	default:
		w.pods[p.Name] = p
	}
	w.wake(p.Name)
}

// add takes a pod that was just created or asked for, unless the watch was faster, also in telling that it is gone.
func (w *podWatch) add(p *core.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.pods[p.Name]; (old == nil || old.UID != p.UID) && !w.gone.Has(string(p.UID)) {
		w.pods[p.Name] = p
		w.wake(p.Name)
	}
}

// wake tells those who wait; the caller holds mu.
func (w *podWatch) wake(name string) {
	if c, ok := w.changed[name]; ok {
		close(c)
		delete(w.changed, name)
	}
	close(w.any)
	w.any = make(chan struct{})
}

func (w *podWatch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	allowed := w.failing != nil && unreachable(w.failing)
	select {
	case <-w.synced:
		allowed = true
	default:
	}
	if allowed && refused(err) { // it may just have been started
		err = driver.WithClass(errdefs.ErrUnavailable, "%v", err)
	}
	if w.failing == nil {
		w.since = time.Now()
	}
	w.failing = err
	for name := range w.changed {
		w.wake(name)
	}
	w.wake("")
}

// ready waits for the first list.
func (w *podWatch) ready(ctx context.Context) error {
	w.begin()
	for {
		w.mu.Lock()
		synced, any, failing, since := w.synced, w.any, w.failing, w.since
		w.mu.Unlock()
		if synced == nil {
			return errClosed
		}
		select {
		case <-synced:
			return nil
		default:
		}
		if err := w.d.patient(ctx, failing, since, any, synced); err != nil {
			return err
		}
	}
}

// patient waits for one of the channels. When the API server has not been heard for too long, it returns why.
func (d *Driver) patient(ctx context.Context, failing error, since time.Time, a, b <-chan struct{}) error {
	var late <-chan time.Time
	if failing != nil {
		if classOfStatus(failing) != nil && !unreachable(failing) {
			return failing // it answers: no
		}
		timer := time.NewTimer(time.Until(since.Add(d.cfg.Patience)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-a:
	case <-b:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late:
		return driver.WithClass(errdefs.ErrUnavailable, "the API server was not heard for %s: %v", d.cfg.Patience, failing)
	}
	return nil
}

// pod returns a task's pod as it is now. One that the watch has not told of yet is asked for.
func (d *Driver) pod(ctx context.Context, h handle) (*core.Pod, error) {
	if err := d.pods.ready(ctx); err != nil {
		return nil, err
	}
	d.pods.mu.Lock()
	p := d.pods.pods[h.name]
	d.pods.mu.Unlock()
	if p != nil && string(p.UID) == h.uid {
		return p, nil
	}
	return d.podNow(ctx, h)
}

// podNow asks the API server for a task's pod.
func (d *Driver) podNow(ctx context.Context, h handle) (*core.Pod, error) {
	p, err := d.api.CoreV1().Pods(d.namespace).Get(ctx, h.name, meta.GetOptions{})
	if err != nil {
		return nil, err
	}
	if string(p.UID) != h.uid || p.Labels[labelOwner] != sum(d.owner) {
		return nil, errNoTask
	}
	d.pods.add(p)
	return p, nil
}

var errNoTask = driver.WithClass(errdefs.ErrNotFound, "there is no such task")

// until waits until f says that it has seen enough of the pod; nil stands for a pod that is gone.
func (d *Driver) until(ctx context.Context, h handle, f func(*core.Pod) (bool, error)) error {
	for {
		p := d.pods.look(h)
		if done, err := f(p); done || err != nil {
			return err
		}
		changed, since, failing := d.pods.wait(h, p)
		if changed == nil {
			continue
		}
		if err := d.patient(ctx, failing, since, changed, nil); err != nil {
			return err
		}
	}
}

func (w *podWatch) look(h handle) *core.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lookLocked(h)
}

func (w *podWatch) lookLocked(h handle) *core.Pod {
	if p := w.pods[h.name]; p != nil && string(p.UID) == h.uid {
		return p
	}
	return nil
}

// wait returns what is closed when the pod changes, or nil if it is not any more what was seen.
func (w *podWatch) wait(h handle, seen *core.Pod) (changed <-chan struct{}, since time.Time, failing error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lookLocked(h) != seen {
		return nil, since, nil
	}
	c, ok := w.changed[h.name]
	if !ok {
		c = make(chan struct{})
		w.changed[h.name] = c
	}
	return c, w.since, w.failing
}

// backoff is the time between attempts to reach what does not answer.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait lets time pass, more each time; false if ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, 50*time.Millisecond), 2*time.Second)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errGone = errors.New("the pod is gone")
