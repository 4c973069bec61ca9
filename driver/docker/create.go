package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// Create makes a task. See [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	spec.Init, spec.Services = slices.Clone(spec.Init), slices.Clone(spec.Services) // they are completed below
	id, err := d.create(ctx, &spec)
	return id, driver.Wrap(ctx, "create", spec.Name, classify(err))
}

func (d *Driver) create(ctx context.Context, spec *driver.TaskSpec) (driver.TaskID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := d.supported(ctx, spec); err != nil {
		return "", err
	}
	volumes, err := d.volumesOf(ctx, spec)
	if err != nil {
		return "", err
	}
	for _, c := range containersOf(spec) {
		if c.Pull == driver.PullAlways {
			if err := d.pull(ctx, pullOf(c.Container)); err != nil {
				return "", err
			}
		}
	}
	m := &maker{Driver: d, spec: spec, uid: newUID(), volumes: volumes}
	h, err := m.make(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", errors.Join(err, m.undo(ctx))
	}
	d.fresh.Add(h.container)
	return driver.TaskID(h.String()), nil
}

// maker makes the containers of one task, and remembers them so that they can be taken away.
type maker struct {
	*Driver
	spec    *driver.TaskSpec
	uid     string
	volumes map[driver.VolumeID]string
	sealed  bool // the secrets are written at the start

	mu     sync.Mutex
	made   []string // ids of containers
	unsure bool     // a create may have worked although its answer did not arrive
}

func (m *maker) make(ctx context.Context) (handle, error) {
	sandbox := m.checkSandbox(ctx)
	network, err := m.networkOf(m.spec)
	if err != nil {
		return handle{}, err
	}
	h := handle{own: m.spec.Network.Mode == driver.NetworkOwn, owner: ownerSum(m.owner)}
	members := containersOf(m.spec)
	if len(members) > 1 {
		h.group = m.uid
		if m.spec.Sandbox == "" {
			if network, err = m.holder(ctx, network); err != nil {
				return handle{}, err
			}
		}
	}
	if h.container, err = m.makeMembers(ctx, members, h.group, network); err != nil {
		return handle{}, err
	}
	if err := <-sandbox; err != nil || !m.inParts() {
		return h, err
	}
	_, err = m.api.ContainerRename(ctx, h.container, client.ContainerRenameOptions{NewName: m.containerName(m.spec.Name)})
	if errdefs.IsConflict(err) {
		err = nameTaken(err)
	}
	return h, err
}

// checkSandbox finds out, beside the creating, whether the sandbox exists: Docker looks at a start only.
func (m *maker) checkSandbox(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	if m.spec.Sandbox == "" {
		result <- nil
		return result
	}
	go func() {
		h, err := m.parse(string(m.spec.Sandbox))
		if err == nil {
			_, err = m.sandbox(ctx, h)
		}
		result <- err
	}()
	return result
}

// holder makes the container that holds the namespace of a group, and returns how others join it.
func (m *maker) holder(ctx context.Context, network *container.HostConfig) (*container.HostConfig, error) {
	labels := m.labels(kindHolder, m.spec.Name, m.uid, m.spec.Labels) // the caller's, so that List finds it if nothing follows
	labels[labelGroup] = m.uid
	env, err := m.seal()
	if err != nil {
		return nil, err
	}
	if m.sealed = len(env) > 0; m.sealed {
		labels[labelSealed] = "true"
	}
	id, err := m.create(ctx, nil, func() client.ContainerCreateOptions {
		opts := pauseOptions(m.containerName(m.spec.Name)+"__net", labels, m.spec.Network.Hostname, *network)
		opts.Config.Env = env
		return opts
	})
	if err != nil {
		return nil, err
	}
	return &container.HostConfig{NetworkMode: container.NetworkMode("container:" + id)}, nil
}

// makeMembers makes the containers of the task at once, since a daemon starts a process to write secrets, and returns the id of the main one. By that, or by a
// holder that is there already, List finds what is left if this process dies.
func (m *maker) makeMembers(ctx context.Context, members []member, group string, network *container.HostConfig) (main string, err error) {
	ids, errs := make([]string, len(members)), make([]error, len(members))
	var all sync.WaitGroup
	for i, c := range members {
		one := func() { ids[i], errs[i] = m.member(ctx, c, group, network) }
		if c.kind == kindTask && m.spec.Sandbox != "" {
			one()
		} else {
			all.Go(one)
		}
	}
	all.Wait()
	for i, c := range members {
		if errs[i] != nil {
			return "", errs[i]
		}
		if c.kind == kindTask {
			main = ids[i]
		}
	}
	return main, nil
}

// member makes one container of the task, with its secrets, and returns its id.
func (m *maker) member(ctx context.Context, c member, group string, network *container.HostConfig) (string, error) {
	if err := m.defaultCommand(ctx, c.Container); err != nil {
		return "", err
	}
	opts := m.options(c, group, network)
	again := func() client.ContainerCreateOptions { return opts }
	id, err := m.create(ctx, c.Container, again)
	if c.Dir != "" && err != nil && strings.Contains(err.Error(), "not a directory") {
		// The daemon makes the working directory now; that it cannot is for the start to say.
		opts.Config.WorkingDir = ""
		opts.Config.Labels[labelRefused] = fmt.Sprintf("the working directory %q cannot be made: a part of it is not a directory", c.Dir)
		id, err = m.create(ctx, c.Container, again)
	}
	if err != nil {
		return "", err
	}
	if c.Security.NonRoot {
		reason, err := m.rootReason(ctx, id)
		if err != nil {
			return "", err
		}
		if reason != "" {
			if err := m.removeContainer(ctx, id); err != nil {
				return "", err
			}
			opts.Config.Labels[labelRefused] = reason
			if id, err = m.create(ctx, c.Container, again); err != nil {
				return "", err
			}
		}
	}
	if m.sealed {
		return id, nil
	}
	return id, m.secrets(ctx, id, m.spec.SecretsOf(c.in(m.spec)))
}

// inParts reports whether the main container is there before the task is complete.
func (m *maker) inParts() bool {
	return len(m.spec.Init)+len(m.spec.Services)+len(m.spec.Secrets) > 0
}

// options is what the API gets to make a container.
func (m *maker) options(c member, group string, network *container.HostConfig) client.ContainerCreateOptions {
	name, user := m.containerName(m.spec.Name), m.spec.Labels
	switch {
	case c.kind != kindTask:
		name, user = name+"_"+c.Name, nil
	case m.inParts():
		name += unfinished + m.uid
	}
	labels := m.labels(c.kind, m.spec.Name, m.uid, user)
	if group != "" {
		labels[labelGroup] = group
	}
	if m.spec.Network.Mode == driver.NetworkOwn {
		labels[labelOwnNet] = "true"
	}
	if c.kind != kindTask {
		labels[labelContainer] = c.Name
		labels[labelOrder] = strconv.Itoa(c.order)
	}
	if c.kind == kindService {
		ready, _ := json.Marshal(m.spec.Services[c.order].Ready) // numbers and strings always marshal
		labels[labelReady] = string(ready)
	}
	cfg := config(c.Container, labels)
	if group == "" && m.spec.Sandbox == "" {
		cfg.Hostname = m.spec.Network.Hostname
	}
	return client.ContainerCreateOptions{Name: name, Config: cfg, HostConfig: hostConfig(c.Container, *network, m.volumes)}
}

// create makes a container, after fetching its image if that is missing; c is nil for the pause image.
func (m *maker) create(ctx context.Context, c *driver.Container, options func() client.ContainerCreateOptions) (string, error) {
	id, err := m.createOnce(ctx, options())
	switch {
	case noImage(err) && c == nil:
		if err := m.loadPause(ctx); err != nil {
			return "", err
		}
		return m.createOnce(ctx, options())
	case noImage(err) && c.Pull != driver.PullNever:
		if err := m.pull(ctx, pullOf(c)); err != nil {
			return "", err
		}
		return m.createOnce(ctx, options())
	case missingOwnNetwork(err):
		if err := m.makeOwnNetwork(ctx); err != nil {
			return "", err
		}
		return m.createOnce(ctx, options())
	}
	return id, err
}

// createOnce does not heed the end of ctx while the daemon works: a create that is abandoned might
// still succeed, and nobody would know. It takes a fraction of a second.
func (m *maker) createOnce(ctx context.Context, options client.ContainerCreateOptions) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	dctx, cancel := detached(ctx)
	defer cancel()
	res, err := m.api.ContainerCreate(dctx, options)
	unsure := false
	if taken := err; errdefs.IsConflict(taken) {
		if res.ID, err = m.createAgain(dctx, ctx, options); unreachable(err) {
			unsure, err = true, taken
		}
	} else if lost(err) {
		res.ID, err = m.createAgain(dctx, dctx, options)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.made = append(m.made, res.ID)
		return res.ID, context.Cause(ctx)
	}
	m.unsure = m.unsure || unsure || lost(err) || dctx.Err() != nil
	if errdefs.IsConflict(err) {
		return "", nameTaken(err)
	}
	return "", err
}

// createAgain repeats a create whose answer was lost, or whose name is taken. The daemon goes on with a create when nobody listens any more, and
// keeps the name from its beginning; when it is done, the container is listed, and has the task's own label if it is the same create.
// It waits until the second context ends.
func (m *maker) createAgain(ctx, patience context.Context, options client.ContainerCreateOptions) (id string, err error) {
	err = m.patiently(patience, func() error {
		res, err := m.api.ContainerCreate(ctx, options)
		if !errdefs.IsConflict(err) {
			id = res.ID
			return err
		}
		made, inspectErr := m.api.ContainerInspect(ctx, options.Name, client.ContainerInspectOptions{}) // anybody's
		switch {
		case errdefs.IsNotFound(inspectErr):
			return driver.WithClass(errdefs.ErrUnavailable, "the daemon is still making the container: %v", err)
		case inspectErr != nil:
			return inspectErr
		case made.Container.Config == nil || made.Container.Config.Labels[labelUID] != m.uid:
			return err
		}
		id = made.Container.ID
		return nil
	})
	return id, err
}

// undo takes away what was made, also when ctx has ended.
func (m *maker) undo(ctx context.Context) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	ids := m.made
	if m.unsure {
		f := m.filters("", nil).Add("label", labelUID+"="+m.uid)
		m.patiently(ctx, func() error {
			list, err := m.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: f})
			for _, c := range list.Items {
				ids = append(ids, c.ID)
			}
			return err
		})
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, m.patiently(ctx, func() error { return m.removeContainer(ctx, id) }))
	}
	if m.spec.Network.Mode == driver.NetworkOwn {
		m.dropOwnNetwork(ctx)
	}
	return errors.Join(errs...)
}

// defaultCommand replaces an empty but given list of arguments, which the API cannot tell from
// none, by the image's own entrypoint with nothing behind it.
func (m *maker) defaultCommand(ctx context.Context, c *driver.Container) error {
	if c.Entrypoint != nil || c.Args == nil || len(c.Args) > 0 {
		return nil
	}
	img, err := m.api.ImageInspect(ctx, c.Image)
	if errdefs.IsNotFound(err) && c.Pull != driver.PullNever {
		if err := m.pull(ctx, pullOf(c)); err != nil {
			return err
		}
		img, err = m.api.ImageInspect(ctx, c.Image)
	}
	if err != nil {
		return err
	}
	c.Entrypoint = []string{}
	if img.Config != nil {
		c.Entrypoint = append(c.Entrypoint, img.Config.Entrypoint...)
	}
	return nil
}

func nameTaken(err error) error {
	return driver.WithClass(errdefs.ErrAlreadyExists, "there is a task, sandbox or container of that name already; remove it or choose another name: %v", classify(err))
}
