package podman

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// Secrets are handed to the service under names of their own before the task's containers are made, which get copies of them, and are taken away when these are there. To
// write them into each container would have the service start a further process for each, of a tenth of a second of processor time. In no configuration does more show
// than their names.

// storable reports whether the service takes a secret: it takes none that is empty, and only short ones.
func storable(s *driver.Secret) bool { return len(s.Value) > 0 && len(s.Value) < 512_000 }

// secretPrefix is what the names of an owner's secrets begin with. They may have 64 characters.
func (d *Driver) secretPrefix() string { return "wharf_" + ownerSum(d.owner) + "_secret_" }

func (m *maker) secretName(i int) string { return m.secretPrefix() + m.uid + "_" + strconv.Itoa(i) }

// store hands the task's secrets to the service; drop takes them away. What the service refuses is written into the containers.
func (m *maker) store(ctx context.Context) (drop func(), err error) {
	m.stored = make([]bool, len(m.spec.Secrets))
	if err := context.Cause(ctx); err != nil {
		return func() {}, err
	}
	posting, cancel := detached(ctx) // one that is abandoned might be stored after its removal
	defer cancel()
	errs := make([]error, len(m.spec.Secrets))
	var all sync.WaitGroup
	for i := range m.spec.Secrets {
		if storable(&m.spec.Secrets[i]) {
			all.Go(func() {
				err := m.storeOne(posting, i)
				if m.stored[i] = !answered(err); m.stored[i] { // without an answer, perhaps
					errs[i] = err
				}
			})
		}
	}
	all.Wait()
	return sync.OnceFunc(func() {
		ctx, cancel := detached(ctx)
		defer cancel()
		var all sync.WaitGroup
		for i, stored := range m.stored {
			if stored {
				all.Go(func() { m.dropSecret(ctx, m.secretName(i)) })
			}
		}
		all.Wait()
	}), errors.Join(errs...)
}

func (m *maker) storeOne(ctx context.Context, i int) error {
	return m.api.call(ctx, "POST", "/secrets/create", url.Values{"name": {m.secretName(i)}, "driver": {"file"}}, bytes.NewReader(m.spec.Secrets[i].Value), nil)
}

// noSecret reports whether a container was not made for want of a secret.
func noSecret(err error) bool {
	return err != nil && answered(err) && strings.Contains(err.Error(), "no such secret")
}

// storeAgain hands the secrets to the service that it had and has no more. Another container of the task may do so too.
func (m *maker) storeAgain(ctx context.Context) error {
	for i, stored := range m.stored {
		if !stored {
			continue
		}
		if err := m.storeOne(ctx, i); err != nil && !(answered(err) && strings.Contains(err.Error(), "in use")) {
			return err
		}
	}
	return nil
}

// dropSecretsOf takes away the secrets of a task that somebody began to make and did not complete.
func (d *Driver) dropSecretsOf(ctx context.Context, uid string) error {
	return d.dropSecrets(ctx, uid+"_", always)
}

// dropSecrets takes away the owner's secrets whose names begin so and that are older than that.
func (d *Driver) dropSecrets(ctx context.Context, prefix string, age time.Duration) error {
	list, err := d.storedSecrets(ctx, prefix)
	for _, s := range list {
		if time.Since(s.CreatedAt) > age {
			d.dropSecret(ctx, s.Spec.Name)
		}
	}
	return err
}

type storedSecret struct {
	CreatedAt time.Time
	Spec      struct{ Name string }
}

// storedSecrets returns the owner's secrets that the service has and whose names begin so.
func (d *Driver) storedSecrets(ctx context.Context, prefix string) ([]storedSecret, error) {
	var list []storedSecret
	err := d.api.call(ctx, "GET", "/secrets/json", nil, nil, &list)
	return slices.DeleteFunc(list, func(s storedSecret) bool { return !strings.HasPrefix(s.Spec.Name, d.secretPrefix()+prefix) }), err
}

// dropSecret takes a secret away from the service, later if that does not answer now.
func (d *Driver) dropSecret(ctx context.Context, name string) {
	drop := func(ctx context.Context) error { return d.api.call(ctx, "DELETE", "/secrets/"+name, nil, nil, nil) }
	if err := drop(ctx); err != nil && !answered(err) {
		d.tasks.Go(func() { _ = d.patiently(d.ctx, func() error { return drop(d.ctx) }) })
	}
}

// secretsOf returns the secrets that a container gets with its making, or those that are written into it: all are, if one must be, since those that are given may hide it.
func (m *maker) secretsOf(container string) (given []secretMount, written []driver.Secret) {
	for i := range m.spec.Secrets {
		s := &m.spec.Secrets[i]
		switch {
		case !s.In(container):
		case m.stored[i]:
			given = append(given, secretMount{Source: m.secretName(i), Target: path.Clean(s.Path), UID: uint32(s.UID), Mode: cmp.Or(s.Mode, 0o400)})
		default:
			return nil, m.spec.SecretsOf(container)
		}
	}
	return given, nil
}

// imageOf returns the ID of the image that a container was made of. Of one task it is asked for once for each name of an image: nobody minds if the name is given to another in between.
func (m *maker) imageOf(ctx context.Context, id, name string) (string, error) {
	m.mu.Lock()
	if m.images == nil {
		m.images = map[string]*guard.Once[string]{}
	}
	if m.images[name] == nil {
		m.images[name] = &guard.Once[string]{}
	}
	once := m.images[name]
	m.mu.Unlock()
	return once.Do(ctx, func(ctx context.Context) (string, error) {
		c, err := m.look(ctx, id)
		if err != nil {
			return "", err
		}
		return c.Image, nil
	})
}

// fitting returns an error if a secret has no place in a container that was made: the service would notice when it starts it. What is found of an image holds for
// the next container of it, since to look has the service start a process; and containers of one image do not look at once.
func (m *maker) fitting(ctx context.Context, id, imageName string, given []secretMount) error {
	if len(given) == 0 {
		return nil
	}
	image, err := m.imageOf(ctx, id, imageName)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(given, func(s secretMount) bool { return !m.places.Has(image + s.Target) }) {
		unlock, err := m.placing.Lock(ctx, image)
		if err != nil {
			return err
		}
		defer unlock()
	}
	for _, s := range given {
		for _, above := range given {
			if strings.HasPrefix(s.Target, above.Target+"/") {
				return driver.WithClass(errdefs.ErrFailedPrecondition, "no secret can be put at %s: %s is one too, and not a directory", s.Target, above.Target)
			}
		}
		place := image + s.Target
		if m.places.Has(place) {
			continue
		}
		is, err := m.isDirectory(ctx, id, s.Target)
		if err == nil && is {
			err = driver.WithClass(errdefs.ErrFailedPrecondition, "no secret can be put at %s: it is a directory", s.Target)
		}
		for at := path.Dir(s.Target); errdefs.IsNotFound(err); at = path.Dir(at) {
			if directory := image + at + "/"; m.places.Has(directory) {
				err = nil
			} else if err = m.directory(ctx, id, at); err == nil {
				m.places.Add(directory)
			}
		}
		if err != nil {
			return err
		}
		m.places.Add(place)
	}
	return nil
}

// always is an age that everything has, also what a clock that is ahead has made.
const always = -1 << 63

// secretAge is how old a secret in the service's store is that is taken for one of a dead process. Who fetches an image meanwhile stores his again.
const secretAge = time.Minute

// sweepSecrets removes what processes of this owner have left that were killed while they made a task, of which there is nothing else.
func (d *Driver) sweepSecrets(ctx context.Context) {
	_ = d.dropSecrets(ctx, "", d.secretAge) // or the next time
}

// write puts secrets into a container that was made and not started. Directories that are not there the service makes so that everybody can enter them, and does not
// change the others.
func (m *maker) write(ctx context.Context, id string, secrets []driver.Secret) error {
	if len(secrets) == 0 {
		return nil
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, s := range secrets {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(s.Path), "/"), Mode: int64(cmp.Or(s.Mode, 0o400)), Uid: s.UID, Size: int64(len(s.Value)), ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(s.Value); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return m.unpack(ctx, id, "/", &buf)
}

// rootReason says why a container, made and not started, would run as user 0, or nothing if it would not.
func (d *Driver) rootReason(ctx context.Context, id string) (string, error) {
	res, err := d.look(ctx, id)
	if err != nil {
		return "", err
	}
	const refused = "Security.NonRoot is set, and the container would run as root: give it a user"
	user, _, _ := strings.Cut(res.Config.User, ":")
	if user == "" || user == "root" {
		return refused, nil
	}
	if uid, err := strconv.Atoi(user); err == nil {
		if uid == 0 {
			return refused, nil
		}
		return "", nil
	}
	uid, err := d.userID(ctx, id, user)
	if err == nil && uid == "0" {
		return refused, nil
	}
	return "", err
}

// userID looks a name up in the /etc/passwd of a container; one that is not there has no id, and
// the service will refuse to start the container.
func (d *Driver) userID(ctx context.Context, id, name string) (string, error) {
	body, err := d.pack(ctx, id, "/etc/passwd")
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer body.Close()
	r := tar.NewReader(body)
	if h, err := r.Next(); err != nil || h.Typeflag != tar.TypeReg {
		return "", driver.WithClass(errdefs.ErrFailedPrecondition, "Security.NonRoot is set, and /etc/passwd of the image, to look up user %q, is no file; give the user by number", name)
	}
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		if f := strings.Split(lines.Text(), ":"); len(f) > 2 && f[0] == name {
			return f[2], nil
		}
	}
	return "", lines.Err()
}
