package podman

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

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
		_, err := d.image(ctx, spec.Image)
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
			select {
			case <-w.news: // the size, which is known at the end
				f.report(spec)
			default:
			}
			return f.err
		case <-w.news:
			f.report(spec)
		}
	}
}

// report hands the caller what was told last.
func (f *flight) report(spec driver.PullSpec) {
	if spec.Progress != nil {
		f.mu.Lock()
		p := f.last
		f.mu.Unlock()
		spec.Progress(p)
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

// image describes an image that the service has.
type image struct {
	ID           string `json:"Id"`
	Architecture string
	Os           string
	Size         int64
	Config       struct{ Entrypoint []string }
}

func (d *Driver) image(ctx context.Context, name string) (*image, error) {
	var img image
	err := d.api.call(ctx, "GET", "/images/"+name+"/json", nil, nil, &img)
	return &img, err
}

// fetch pulls an image and tells how far it is. Podman says only which layer it is at, and the size at the end.
func (d *Driver) fetch(ctx context.Context, spec driver.PullSpec, tell func(driver.PullProgress)) error {
	ref, err := fullName(spec.Image)
	if err != nil {
		return err
	}
	q := url.Values{"reference": {ref}, "policy": {"always"}}
	if loopback(ref) {
		q.Set("tlsVerify", "false")
	}
	req, err := d.api.request(ctx, "POST", "/images/pull", q, nil)
	if err != nil {
		return err
	}
	if c := spec.Credentials; c != nil {
		data, err := json.Marshal(map[string]string{"username": c.Username, "password": c.Password, "identitytoken": c.Token})
		if err != nil {
			return err
		}
		req.Header.Set("X-Registry-Auth", base64.URLEncoding.EncodeToString(data))
	}
	resp, err := d.api.send(req)
	if err != nil {
		return classifyPull(err)
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var msg struct{ Stream, Error, ID string }
		if err := dec.Decode(&msg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		if msg.Error != "" {
			return classifyPull(errors.New(msg.Error))
		}
		tell(driver.PullProgress{Status: strings.TrimSpace(msg.Stream)})
	}
	img, err := d.image(ctx, ref)
	if err != nil {
		return err
	}
	tell(driver.PullProgress{Status: "Pulled", Done: img.Size, Total: img.Size})
	return d.fits(ctx, ref, img)
}

// fits refuses an image for another machine: Podman fetches it all the same.
func (d *Driver) fits(ctx context.Context, ref string, img *image) error {
	caps, err := d.caps.Do(ctx, d.capabilities)
	if err != nil {
		return err
	}
	if img.Architecture != caps.Arch || img.Os != caps.OS {
		return driver.WithClass(errdefs.ErrNotFound, "the registry has the image %s for %s/%s only; this machine is %s/%s", ref, img.Os, img.Architecture, caps.OS, caps.Arch)
	}
	return nil
}

// fullName completes a name without a registry, which Podman would look for in whatever registries.conf says, with
// Docker's, as all runtimes do.
func fullName(name string) (string, error) {
	first, rest, ok := strings.Cut(name, "/")
	switch {
	case strings.Contains(name, "://") || strings.ToLower(strings.Split(name, "@")[0]) != name && !ok:
		return "", driver.WithClass(errdefs.ErrInvalidArgument, "image %q: invalid reference format", name)
	case !ok:
		return "docker.io/library/" + name, nil
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + first + "/" + rest, nil
	}
	return name, nil
}

// loopback reports whether a registry is on the service's own machine: such may do without TLS.
func loopback(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// classifyPull gives what a registry said its class: the service passes it on as text.
func classifyPull(err error) error {
	if c := classOfWords(err.Error()); c != nil {
		return driver.WithClass(c, "%s", err.Error())
	}
	if answered(err) && !errdefs.IsInternal(err) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return driver.WithClass(errdefs.ErrUnavailable, "%s", err.Error())
}
