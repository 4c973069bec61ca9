//go:build linux

package containerd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wharfci/wharf/driver"
)

// Pull fetches an image. See [driver.Puller].
func (d *Driver) Pull(ctx context.Context, spec driver.PullSpec) error {
	ctx, done := d.begin(ctx)
	defer done()
	if spec.Platform != "" {
		return driver.Wrap(ctx, "pull", spec.Image, driver.Unsupported("Platform"))
	}
	_, err := d.image(ctx, spec.Image, spec.Policy, spec.Credentials, spec.Progress)
	return driver.Wrap(ctx, "pull", spec.Image, classify(err))
}

// image returns an image by its policy, unpacked. Calls for one image wait for each other, so that it is fetched once.
func (d *Driver) image(ctx context.Context, name string, policy driver.PullPolicy, creds *driver.Credentials, progress func(driver.PullProgress)) (*rootImage, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "image %q: %v", name, err)
	}
	unlock, err := d.pulls.Lock(ctx, ref.String())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if policy != driver.PullAlways {
		img, err := d.localImage(ctx, ref.String())
		if err == nil || !notFound(err) {
			return img, err
		}
		if policy == driver.PullNever {
			return nil, driver.WithClass(errdefs.ErrNotFound, "containerd's namespace %q has no image %s, and the pull policy is never", d.cfg.Namespace, ref)
		}
	}
	img, err := d.fetch(ctx, ref, creds, progress)
	if err != nil {
		return nil, err
	}
	return d.rootImage(ctx, img)
}

// rootImage is what a container needs of an image that is unpacked.
type rootImage struct {
	name   string
	digest digest.Digest
	chain  string // the key of the snapshot
	config ocispec.ImageConfig
}

// imageCache remembers images by their digest, of which all else follows. That the snapshot is still there, which somebody may have
// removed with the image, shows when it is used. The zero value is ready for use.
type imageCache struct {
	mu    sync.Mutex
	known map[digest.Digest]rootImage
}

// maxImages is how many images are remembered.
const maxImages = 1000

func (c *imageCache) add(i rootImage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxImages {
		c.known = map[digest.Digest]rootImage{}
	}
	c.known[i.digest] = i
}

func (c *imageCache) find(record images.Image) (*rootImage, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.known[record.Target.Digest]
	i.name = record.Name
	return &i, ok
}

func (c *imageCache) forget(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, d)
}

// localImage returns an image that the daemon has, for this platform, and unpacks it if nobody has yet.
func (d *Driver) localImage(ctx context.Context, ref string) (*rootImage, error) {
	record, err := d.client.ImageService().Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if i, ok := d.images.find(record); ok {
		return i, nil
	}
	img := client.NewImage(d.client, record)
	unpacked, err := img.IsUnpacked(ctx, d.cfg.Snapshotter)
	if err == nil && !unpacked {
		err = img.Unpack(ctx, d.cfg.Snapshotter)
	}
	if err != nil {
		return nil, err
	}
	return d.rootImage(ctx, img)
}

// rootImage reads what is needed of an unpacked image.
func (d *Driver) rootImage(ctx context.Context, img client.Image) (*rootImage, error) {
	diffs, err := img.RootFS(ctx)
	if err != nil {
		return nil, err
	}
	spec, err := img.Spec(ctx)
	if err != nil {
		return nil, err
	}
	i := rootImage{img.Name(), img.Target().Digest, identity.ChainID(diffs).String(), spec.Config}
	d.images.add(i)
	return &i, nil
}

func (d *Driver) fetch(ctx context.Context, ref reference.Named, creds *driver.Credentials, progress func(driver.PullProgress)) (client.Image, error) {
	said := &registryWords{}
	opts := []client.RemoteOpt{
		client.WithResolver(d.resolver(reference.Domain(ref), creds, said)),
		client.WithPullUnpack, client.WithPullSnapshotter(d.cfg.Snapshotter), client.WithPlatformMatcher(platforms.Default()),
	}
	if progress != nil {
		opts = append(opts, client.WithImageHandlerWrapper(reporting(progress)))
	}
	img, err := d.client.Pull(ctx, ref.String(), opts...)
	switch {
	case err == nil:
		return img, nil
	case strings.Contains(err.Error(), "no match for platform"):
		err = fmt.Errorf("the image is not for %s: %w", platforms.DefaultString(), err)
	default:
		err = said.add(err)
	}
	return nil, fmt.Errorf("pull %s: %w", ref, err)
}

// reporting tells of the sizes as they become known, and of each blob when it has arrived.
func reporting(progress func(driver.PullProgress)) func(images.Handler) images.Handler {
	var done, total atomic.Int64
	tell := make(chan struct{}, 1)
	return func(next images.Handler) images.Handler {
		return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			total.Add(desc.Size)
			children, err := next.Handle(ctx, desc)
			if err == nil {
				done.Add(desc.Size)
			}
			tell <- struct{}{}
			progress(driver.PullProgress{Done: done.Load(), Total: total.Load(), Status: "Downloading"})
			<-tell
			return children, err
		})
	}
}

// resolver reaches a registry with the credentials. Nothing of them is stored.
func (d *Driver) resolver(registry string, creds *driver.Credentials, said *registryWords) remotes.Resolver {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // leaves no connection behind
	said.next = transport
	httpClient := &http.Client{Transport: said}
	auth := docker.NewDockerAuthorizer(docker.WithAuthClient(httpClient), docker.WithAuthCreds(func(host string) (string, string, error) {
		switch {
		case creds == nil || host != registry && !(registry == "docker.io" && strings.HasSuffix(host, "docker.io")):
			return "", "", nil
		case creds.Token != "":
			return "", creds.Token, nil
		}
		return creds.Username, creds.Password, nil
	}))
	return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithAuthorizer(auth), docker.WithClient(httpClient), docker.WithPlainHTTP(d.plainHTTP))})
}

// plainHTTP reports whether a registry is asked without TLS.
func (d *Driver) plainHTTP(host string) (bool, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback() || slices.Contains(d.cfg.PlainHTTP, host), nil
}
