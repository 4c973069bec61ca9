package fake

import (
	"context"
	"regexp"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// pull is a fetch under way, which several callers may wait for.
type pull struct {
	callers int
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

var reference = regexp.MustCompile(`^([a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+(([._]|__|-+|/)[a-z0-9]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// image returns an image by the policy of the spec.
func (rt *Runtime) image(ctx context.Context, spec driver.PullSpec) (*Image, error) {
	if !reference.MatchString(spec.Image) {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "invalid reference format: %q", spec.Image)
	}
	rt.mu.Lock()
	img := rt.images[spec.Image]
	if img == nil && rt.cfg.Images == nil && rt.cfg.Pull == nil {
		img = &Image{root: rt.disk.dir(0o755)}
		rt.images[spec.Image] = img
	}
	rt.mu.Unlock()
	switch {
	case img != nil && (spec.Policy != driver.PullAlways || rt.cfg.Pull == nil && rt.cfg.Images == nil):
		return img, nil
	case spec.Policy == driver.PullNever:
		return nil, driver.WithClass(errdefs.ErrNotFound, "no such image: %s, and the policy is never to pull it", spec.Image)
	case rt.cfg.Pull == nil:
		return nil, driver.WithClass(errdefs.ErrNotFound, "no such image: %s, and there is no registry", spec.Image)
	}
	if err := rt.fetch(ctx, spec); err != nil {
		return nil, err
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.images[spec.Image], nil
}

// fetch pulls an image, or joins the pull that is under way. The pull ends when nobody waits for it any more.
func (rt *Runtime) fetch(ctx context.Context, spec driver.PullSpec) error {
	rt.mu.Lock()
	p := rt.pulls[spec.Image]
	if p == nil {
		p = &pull{done: make(chan struct{})}
		var pulling context.Context
		pulling, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		rt.pulls[spec.Image] = p
		go rt.transfer(pulling, spec, p)
	}
	p.callers++
	rt.mu.Unlock()
	defer func() {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		if p.callers--; p.callers == 0 {
			p.cancel()
			if rt.pulls[spec.Image] == p {
				delete(rt.pulls, spec.Image)
			}
		}
	}()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (rt *Runtime) transfer(ctx context.Context, spec driver.PullSpec, p *pull) {
	img, err := rt.cfg.Pull(ctx, spec)
	if err == nil {
		err = rt.AddImage(spec.Image, img)
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	p.err = err
	if rt.pulls[spec.Image] == p {
		delete(rt.pulls, spec.Image)
	}
	close(p.done)
}
