package kubernetes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	registry "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/conns"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// dockerConfig is what a Secret with credentials for registries holds.
type dockerConfig struct {
	Auths map[string]auth `json:"auths"`
}

type auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
}

// credentials are those of the spec, by registry.
func credentials(spec *driver.TaskSpec) map[string]auth {
	all := map[string]auth{}
	for _, p := range parts(spec) {
		ref, err := reference.ParseNormalizedNamed(p.Image)
		if p.Credentials == nil || err != nil {
			continue
		}
		host := reference.Domain(ref)
		if host == "docker.io" {
			host = "https://index.docker.io/v1/"
		}
		c := p.Credentials
		all[host] = auth{Username: c.Username, Password: c.Password, IdentityToken: c.Token}
	}
	return all
}

// imageCache keeps what images set, by digest: that never changes.
type imageCache struct {
	lock guard.Locks
	mu   sync.Mutex
	all  map[string]registry.Config
}

// maxImages is how many are kept.
const maxImages = 1000

// prefixes are what stands before the arguments of each container that takes its command from its image.
func (d *Driver) prefixes(ctx context.Context, p *core.Pod) (map[string][]string, error) {
	var wanted defaults
	if err := json.Unmarshal([]byte(p.Annotations[noteDefaults]), &wanted); err != nil {
		return nil, fmt.Errorf("annotation %s of the pod: %w", noteDefaults, err)
	}
	all := map[string][]string{}
	for container, from := range wanted {
		s := containerStatus(p, from.ID)
		if s == nil || s.ImageID == "" {
			return nil, driver.WithClass(errdefs.ErrUnavailable, "the node does not yet say which image container %s has", container)
		}
		cfg, err := d.config(ctx, p, imageOf(p, from.ID), s.ImageID)
		if err != nil {
			return nil, driver.WithClass(errdefs.ErrFailedPrecondition,
				"what the image of container %s runs is not known: its registry was asked for it, and %v; give the container an Entrypoint, or name a place to ask in Config.Mirrors", container, err)
		}
		argv := append([]string{}, cfg.Entrypoint...)
		if from.Cmd {
			argv = append(argv, cfg.Cmd...)
		}
		all[container] = argv
	}
	return all, nil
}

func imageOf(p *core.Pod, container string) string {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == container {
			return p.Spec.Containers[i].Image
		}
	}
	return ""
}

// config returns what the image sets that a node has, by the node's name for it.
func (d *Driver) config(ctx context.Context, p *core.Pod, image, id string) (registry.Config, error) {
	unlock, err := d.images.lock.Lock(ctx, id)
	if err != nil {
		return registry.Config{}, err
	}
	defer unlock()
	d.images.mu.Lock()
	cfg, ok := d.images.all[id]
	d.images.mu.Unlock()
	if ok {
		return cfg, nil
	}
	ref, err := d.reference(image, id)
	if err != nil {
		return cfg, err
	}
	auths, err := d.pullSecrets(ctx, p)
	if err != nil {
		return cfg, err
	}
	file, err := fetchConfig(ref, id, d.options(ctx, auths, image))
	if err != nil {
		return cfg, err
	}
	d.images.mu.Lock()
	defer d.images.mu.Unlock()
	if d.images.all == nil || len(d.images.all) >= maxImages {
		d.images.all = map[string]registry.Config{}
	}
	d.images.all[id] = file.Config
	return file.Config, nil
}

// fetchConfig asks a registry. A node names an image that it has not pulled by the digest of its configuration.
func fetchConfig(ref name.Reference, id string, opts []remote.Option) (*registry.ConfigFile, error) {
	if !strings.HasPrefix(id, "sha256:") {
		img, err := remote.Image(ref, opts...)
		if err != nil {
			return nil, err
		}
		return img.ConfigFile()
	}
	blob, err := remote.Layer(ref.Context().Digest(id), opts...)
	if err != nil {
		return nil, err
	}
	text, err := blob.Compressed() // as it is: it is no layer
	if err != nil {
		return nil, err
	}
	defer text.Close()
	return registry.ParseConfigFile(text)
}

// reference is where to ask for an image: in its registry or the mirror of that, by the digest that the node reports, if it does.
func (d *Driver) reference(image, id string) (name.Reference, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, err
	}
	host := reference.Domain(named)
	var opts []name.Option
	if mirror, ok := d.cfg.Mirrors[host]; ok {
		host = strings.TrimPrefix(mirror, "http://")
		if host != mirror {
			opts = append(opts, name.Insecure)
		}
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return nil, err
	}
	repo := reg.Repo(reference.Path(named))
	if _, digest, ok := strings.Cut(id, "@"); ok {
		return repo.Digest(digest), nil
	}
	switch r := reference.TagNameOnly(named).(type) {
	case reference.Digested:
		return repo.Digest(r.Digest().String()), nil
	case reference.Tagged:
		return repo.Tag(r.Tag()), nil
	}
	return nil, errors.New("the image has neither tag nor digest")
}

// options are for one question to a registry.
func (d *Driver) options(ctx context.Context, auths map[string]auth, image string) []remote.Option {
	caps, err := d.capabilities(ctx)
	opts := []remote.Option{remote.WithContext(ctx), remote.WithTransport(d.registries), remote.WithUserAgent("wharf"), remote.WithRetryPredicate(func(error) bool { return false })}
	if err == nil {
		opts = append(opts, remote.WithPlatform(registry.Platform{OS: caps.OS, Architecture: caps.Arch}))
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return opts
	}
	host := reference.Domain(named)
	for _, key := range []string{host, "https://" + host, "https://" + host + "/v1/", "https://" + host + "/v2/", "https://index." + host + "/v1/"} {
		a, ok := auths[key]
		if !ok {
			continue
		}
		if text, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && a.Username == "" && a.Auth != "" {
			a.Username, a.Password, _ = strings.Cut(string(text), ":")
		}
		return append(opts, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken})))
	}
	return opts
}

// pullSecrets reads the credentials that the kubelet has for the pod.
func (d *Driver) pullSecrets(ctx context.Context, p *core.Pod) (map[string]auth, error) {
	all := map[string]auth{}
	for _, s := range p.Spec.ImagePullSecrets {
		secret, err := d.api.CoreV1().Secrets(d.namespace).Get(ctx, s.Name, meta.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("pull secret: %w", err)
		}
		var cfg dockerConfig
		if err := json.Unmarshal(secret.Data[core.DockerConfigJsonKey], &cfg); err != nil {
			return nil, fmt.Errorf("pull secret %s is no %s", s.Name, core.SecretTypeDockerConfigJson)
		}
		for host, a := range cfg.Auths {
			all[host] = a
		}
	}
	return all, nil
}

// registrySays asks the registry of an image that a node could not pull, because the kubelet drops most of its words.
func (d *Driver) registrySays(ctx context.Context, p *core.Pod, t *trouble, spec *driver.TaskSpec) error {
	for _, part := range parts(spec) {
		if part.id == t.container && part.Pull == driver.PullNever {
			return nil
		}
	}
	ref, err := d.reference(t.image, "")
	if err != nil {
		return nil
	}
	auths, err := d.pullSecrets(ctx, p)
	if err != nil {
		return nil
	}
	img, err := remote.Image(ref, d.options(ctx, auths, t.image)...)
	if err == nil {
		_, err = img.Size()
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// newRegistries is the transport for registries, which each driver value has for itself, so that Close can end its connections.
func newRegistries(lines *conns.List) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = lines.Dialer(t.DialContext)
	t.MaxIdleConnsPerHost = 2
	return t
}
