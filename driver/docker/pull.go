package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

func pullOf(c *driver.Container) driver.PullSpec {
	return driver.PullSpec{Image: c.Image, Policy: c.Pull, Credentials: c.Credentials, Platform: c.Platform}
}

// Pull fetches an image by its policy. See [driver.Puller].
func (d *Driver) Pull(ctx context.Context, spec driver.PullSpec) error {
	ctx, done := d.begin(ctx)
	defer done()
	err := d.pullByPolicy(ctx, spec)
	if err == nil {
		_, _ = d.paused.Do(ctx, d.needPause) // who needs it and has not got it loads it, and tells of what is wrong
	}
	return driver.Wrap(ctx, "pull", spec.Image, classify(err))
}

func (d *Driver) pullByPolicy(ctx context.Context, spec driver.PullSpec) error {
	if spec.Image == "" || spec.Policy > driver.PullNever {
		return driver.WithClass(errdefs.ErrInvalidArgument, "an image and a known policy are needed")
	}
	if spec.Platform != "" {
		c := driver.Container{Platform: spec.Platform}
		if err := d.containerSupported(ctx, &driver.TaskSpec{}, &c, "PullSpec"); err != nil {
			return err
		}
	}
	if spec.Policy != driver.PullAlways {
		_, err := d.api.ImageInspect(ctx, spec.Image)
		if err == nil || spec.Policy == driver.PullNever || !errdefs.IsNotFound(err) {
			return err
		}
	}
	return d.pull(ctx, spec)
}

// flights are the pulls under way, so that many calls for one image fetch it once. The zero
// value is ready for use.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

type flight struct {
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	mu      sync.Mutex
	waiters map[*waiter]struct{}
	last    driver.PullProgress
	users   int // guarded by flights.mu
}

type waiter struct{ news chan struct{} }

// pull fetches an image, or joins the call that already does. It is given up when nobody waits for it any more.
func (d *Driver) pull(ctx context.Context, spec driver.PullSpec) error {
	key, err := json.Marshal([]any{spec.Image, spec.Platform, spec.Credentials}) // other credentials may see another answer
	if err != nil {
		return err
	}
	f := d.pulls.join(d, string(key), spec)
	defer d.pulls.leave(string(key), f)
	w := &waiter{news: make(chan struct{}, 1)}
	f.mu.Lock()
	f.waiters[w] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiters, w)
		f.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.done:
			return f.err
		case <-w.news:
			if spec.Progress != nil {
				f.mu.Lock()
				p := f.last
				f.mu.Unlock()
				spec.Progress(p)
			}
		}
	}
}

func (fs *flights) join(d *Driver, key string, spec driver.PullSpec) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.open[key]
	if f == nil {
		ctx, cancel := context.WithCancel(d.ctx)
		f = &flight{cancel: cancel, done: make(chan struct{}), waiters: map[*waiter]struct{}{}}
		if fs.open == nil {
			fs.open = map[string]*flight{}
		}
		fs.open[key] = f
		d.tasks.Go(func() {
			f.err = d.fetch(ctx, spec, f.tell)
			fs.forget(key, f)
			close(f.done)
		})
	}
	f.users++
	return f
}

func (fs *flights) forget(key string, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.open[key] == f {
		delete(fs.open, key)
	}
}

func (fs *flights) leave(key string, f *flight) {
	fs.mu.Lock()
	f.users--
	idle := f.users == 0
	if idle && fs.open[key] == f {
		delete(fs.open, key)
	}
	fs.mu.Unlock()
	if idle {
		f.cancel()
		<-f.done
	}
}

func (f *flight) tell(p driver.PullProgress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = p
	for w := range f.waiters {
		select {
		case w.news <- struct{}{}:
		default: // it has not looked at the one before
		}
	}
}

// fetch pulls an image and tells how far it is.
func (d *Driver) fetch(ctx context.Context, spec driver.PullSpec, tell func(driver.PullProgress)) error {
	auth, err := registryAuth(spec.Credentials)
	if err != nil {
		return err
	}
	res, err := d.api.ImagePull(ctx, spec.Image, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return classifyPull(err)
	}
	defer res.Close()
	layers := map[string]*jsonstream.Progress{}
	for msg, err := range res.JSONMessages(ctx) {
		if err != nil {
			return classifyPull(err)
		}
		if msg.Error != nil {
			return classifyPull(msg.Error)
		}
		if msg.Progress != nil && msg.ID != "" && msg.Progress.Total > 0 && msg.Status == "Downloading" {
			layers[msg.ID] = msg.Progress
		} else if l := layers[msg.ID]; l != nil {
			l.Current = l.Total
		}
		p := driver.PullProgress{Status: msg.Status}
		for _, l := range layers {
			p.Done += l.Current
			p.Total += l.Total
		}
		tell(p)
	}
	return context.Cause(ctx)
}

func registryAuth(c *driver.Credentials) (string, error) {
	if c == nil {
		return "", nil
	}
	data, err := json.Marshal(registry.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.Token})
	return base64.URLEncoding.EncodeToString(data), err
}

// classifyPull gives what a registry said its class: the daemon passes it on as text.
func classifyPull(err error) error {
	if c := classOfWords(err.Error()); c != nil {
		return driver.WithClass(c, "%s", err.Error())
	}
	if strings.HasSuffix(err.Error(), "denied") { // all that is left of a 403 to HEAD, which has no body
		return driver.WithClass(errdefs.ErrPermissionDenied, "%s", err.Error())
	}
	if errdefs.IsInternal(err) || errdefs.IsUnknown(err) {
		return driver.WithClass(errdefs.ErrUnavailable, "%s", err.Error())
	}
	return err
}
