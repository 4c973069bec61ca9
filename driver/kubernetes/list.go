package kubernetes

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// List returns the owner's tasks. See [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	ctx, done := d.begin(ctx)
	defer done()
	list, err := d.list(ctx, opts)
	return list, driver.Wrap(ctx, "list", "", classify(err))
}

func (d *Driver) list(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := driver.ValidLabels(opts.Labels); err != nil {
		return nil, err
	}
	pods, err := d.api.CoreV1().Pods(d.namespace).List(ctx, meta.ListOptions{LabelSelector: d.selector(kindTask)})
	if err != nil {
		return nil, err
	}
	var selected []*core.Pod
	for i := range pods.Items {
		if p := &pods.Items[i]; matches(userLabels(p), opts.Labels) {
			selected = append(selected, p)
		}
	}
	// Seconds are all that creation times have.
	slices.SortFunc(selected, func(a, b *core.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Annotations[noteAt], b.Annotations[noteAt]), cmp.Compare(a.Name, b.Name))
	})
	tasks := make([]driver.Task, len(selected))
	errs := make([]error, len(selected))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, p := range selected {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			tasks[i], errs[i] = d.taskOf(ctx, p)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

// taskOf asks the keeper for the state where the pod alone does not tell it.
func (d *Driver) taskOf(ctx context.Context, p *core.Pod) (driver.Task, error) {
	h := d.handleOf(p)
	t := driver.Task{ID: h.id(), Name: p.Annotations[noteName], Labels: userLabels(p), Created: p.CreationTimestamp.UTC(), State: comingUp(p)}
	switch {
	case p.DeletionTimestamp != nil:
		t.State, t.Reason = driver.StateEnded, "its removal has begun"
	case stopped(p):
		t.State, t.Reason = driver.StateEnded, whyStopped
	case gated(p, gateComplete):
		t.State, t.Reason, t.Incomplete = driver.StateUnknown, inMaking, true
	case keeperEnded(p):
		t.State, t.Reason = driver.StateEnded, p.Status.Reason
	case !keeperRuns(p):
		t.Reason = whyWaiting(p)
	default:
		a, err := d.stateCall(ctx, p.Name)
		if err != nil {
			return d.withoutAnswer(ctx, t, h, err)
		}
		switch t.State = max(t.State, stateOf(a.State)); {
		case t.State <= driver.StateStarting:
			t.Reason = whyWaiting(p)
		case t.State == driver.StateRunning:
			t.Reason = leaving(p)
		}
	}
	return t, nil
}

// stateTime is how long a pod may take to say how it stands: that of a node that cannot be reached must not keep a list from the others.
const stateTime = 5 * time.Second

func (d *Driver) stateCall(ctx context.Context, pod string) (*wire.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	c, err := d.call(ctx, pod, wire.Request{Op: wire.OpState})
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.answer(nil)
}

// withoutAnswer is a task whose keeper did not answer, perhaps because it has ended meanwhile. One task whose node cannot be reached must not hide
// the others.
func (d *Driver) withoutAnswer(ctx context.Context, t driver.Task, h handle, err error) (driver.Task, error) {
	p, getErr := d.api.CoreV1().Pods(d.namespace).Get(ctx, h.name, meta.GetOptions{})
	switch {
	case apierrors.IsNotFound(getErr), getErr == nil && (string(p.UID) != h.uid || p.DeletionTimestamp != nil || keeperEnded(p)):
		t.State, t.Reason = driver.StateEnded, "its pod has ended"
		return t, nil
	case getErr == nil && context.Cause(ctx) == nil && !refused(err):
		t.State, t.Reason = driver.StateUnknown, "its pod does not answer: "+err.Error()
		return t, nil
	}
	return t, err
}

func stateOf(s wire.State) driver.State {
	switch s {
	case wire.Created:
		return driver.StateCreated
	case wire.Starting:
		return driver.StateStarting
	case wire.Running:
		return driver.StateRunning
	case wire.Ended:
		return driver.StateEnded
	}
	return driver.StateUnknown
}
