package worker

import (
	"context"
	"sync"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
)

// pulls fetches images, each once in a build, and those of the next stage ahead of it.
type pulls struct {
	e       *engine
	mu      sync.Mutex
	byImage map[string]*pull
}

type pull struct {
	done chan struct{}
	err  error
}

// policy is what Create is told: where images are fetched ahead, it need not ask the registry again.
func (p *pulls) policy() driver.PullPolicy {
	if p.e.caps.Pull && p.e.cfg.Pull == driver.PullAlways {
		return driver.PullIfNotPresent
	}
	return p.e.cfg.Pull
}

// images lists what a step runs.
func images(s *pipeline.Step) []string {
	list := []string{s.Container.Image}
	for _, svc := range s.Services {
		list = append(list, svc.Image)
	}
	return list
}

// stage begins to fetch the images of a stage.
func (p *pulls) stage(stage *pipeline.Stage) {
	for i := range stage.Steps {
		p.begin(&stage.Steps[i])
	}
}

// begin begins to fetch the images of a step.
func (p *pulls) begin(s *pipeline.Step) {
	if !p.e.caps.Pull || p.e.cfg.Pull == driver.PullNever {
		return
	}
	for _, image := range images(s) {
		p.image(image)
	}
}

// step waits for the images of a step.
func (p *pulls) step(ctx context.Context, s *pipeline.Step) error {
	if !p.e.caps.Pull || p.e.cfg.Pull == driver.PullNever {
		return nil
	}
	for _, image := range images(s) {
		one := p.image(image)
		select {
		case <-one.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if one.err != nil {
			p.forget(image, one)
			return one.err
		}
	}
	return nil
}

// image fetches an image in the background, unless that has begun.
func (p *pulls) image(image string) *pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.byImage[image]; one != nil {
		return one
	}
	one := &pull{done: make(chan struct{})}
	p.byImage[image] = one
	e := p.e
	e.made.background.Go(func() {
		defer close(one.done)
		one.err = driver.Pull(e.stop, e.d, driver.PullSpec{Image: image, Policy: e.cfg.Pull, Progress: func(at driver.PullProgress) {
			e.j.Pull(Event{Kind: KindPull, Image: e.mask.String(image), Done: at.Done, Total: at.Total, Status: at.Status})
		}})
	})
	return one
}

// forget lets a later attempt fetch the image again.
func (p *pulls) forget(image string, failed *pull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byImage[image] == failed {
		delete(p.byImage, image)
	}
}
