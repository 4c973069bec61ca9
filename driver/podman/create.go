package podman

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/bare"
	"github.com/wharfci/wharf/driver/internal/guard"
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
	service, err := d.info.Do(ctx, d.ask)
	if err != nil {
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
	m := &maker{Driver: d, spec: spec, defaults: service.capabilities(), uid: newUID(), volumes: volumes}
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
	spec     *driver.TaskSpec
	uid      string
	volumes  map[driver.VolumeID]string
	defaults []string // the capabilities that the service gives

	stored []bool // the secrets that the service has

	mu     sync.Mutex
	made   []string                       // ids of containers
	unsure int                            // so many creates may have worked although their answers did not arrive
	images map[string]*guard.Once[string] // their IDs, by name
}

func (m *maker) make(ctx context.Context) (handle, error) {
	sandbox := m.checkSandbox(ctx)
	h := handle{owner: ownerSum(m.owner), joined: m.spec.Sandbox != ""}
	network, err := m.networkOf(ctx, m.spec, m.uid)
	if err != nil {
		return handle{}, err
	}
	if m.spec.Network.Mode == driver.NetworkOwn {
		h.network = m.uid
		if err := m.makeNetwork(ctx, m.uid); err != nil {
			return handle{}, err
		}
	}
	members := containersOf(m.spec)
	var drop func()
	storing := make(chan error, 1)
	go func() {
		var err error
		drop, err = m.store(ctx)
		storing <- err
	}()
	if len(members) > 1 {
		h.group = m.uid
		if m.spec.Sandbox == "" {
			network, err = m.holder(ctx, network)
		}
	}
	err = cmp.Or(err, <-storing)
	defer drop()
	if err != nil {
		return handle{}, err
	}
	if h.container, err = m.makeMembers(ctx, members, h.group, network); err != nil {
		return handle{}, err
	}
	drop() // before the task is complete: one that is leaves nothing behind, whoever dies
	if err := <-sandbox; err != nil || !m.inParts() {
		return h, err
	}
	err = m.api.call(ctx, "POST", "/containers/"+h.container+"/rename", url.Values{"name": {m.containerName(m.spec.Name)}}, nil, nil)
	if nameInUse(err) {
		m.awaitListed(ctx, m.containerName(m.spec.Name))
		err = nameTaken(err)
	}
	return h, err
}

// checkSandbox finds out, beside the creating, whether the sandbox exists: Podman says so in other words.
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

// holder makes the container that holds the namespace of a group, and returns how others join it. It is started before the first of these is
// prepared, to be listened to or started: Podman does that only in a namespace that is there.
func (m *maker) holder(ctx context.Context, network containerSpec) (containerSpec, error) {
	labels := m.labels(kindHolder, m.spec.Name, m.uid, m.spec.Labels) // the caller's, so that List finds it if nothing follows
	labels[labelGroup] = m.uid
	if network.Networks != nil {
		labels[labelNetwork] = m.uid
	}
	pause := pauseSpec(m.containerName(m.spec.Name)+"__net", labels, network)
	id, err := m.create(ctx, nil, &pause)
	return containerSpec{Network: namespace{"container", id}}, err
}

// makeMembers makes the containers of the task at once, since the service starts a process to write secrets, and returns the id of the main one. By that, or by a
// holder that is there already, List finds what is left if this process dies.
func (m *maker) makeMembers(ctx context.Context, members []member, group string, network containerSpec) (main string, err error) {
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
func (m *maker) member(ctx context.Context, c member, group string, network containerSpec) (string, error) {
	if err := m.defaultCommand(ctx, c.Container); err != nil {
		return "", err
	}
	spec := m.options(c, group, network)
	given, written := m.secretsOf(c.in(m.spec))
	spec.Secrets = given
	id, err := m.create(ctx, c.Container, &spec)
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
			spec.Labels[labelRefused] = reason
			if id, err = m.create(ctx, c.Container, &spec); err != nil {
				return "", err
			}
		}
	}
	if err := m.fitting(ctx, id, c.Image, given); err != nil {
		return "", err
	}
	return id, m.write(ctx, id, written)
}

// inParts reports whether the main container is there before the task is complete.
func (m *maker) inParts() bool {
	return len(m.spec.Init)+len(m.spec.Services)+len(m.spec.Secrets) > 0
}

// options is what the API gets to make a container.
func (m *maker) options(c member, group string, network containerSpec) containerSpec {
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
		labels[labelNetwork] = m.uid
	}
	if m.spec.Sandbox != "" {
		labels[labelJoined] = "true"
	}
	if c.kind != kindTask {
		labels[labelContainer] = c.Name
		labels[labelOrder] = strconv.Itoa(c.order)
	}
	if c.kind == kindService {
		ready, _ := json.Marshal(m.spec.Services[c.order].Ready) // numbers and strings always marshal
		labels[labelReady] = string(ready)
	}
	spec := network
	spec.Name, spec.Labels = name, labels
	spec.fill(c.Container, m.volumes, m.defaults)
	return spec
}

// create makes a container, after fetching its image and making the shared network if they are missing; c is nil for a helper.
func (m *maker) create(ctx context.Context, c *driver.Container, spec *containerSpec) (string, error) {
	for image, network, secrets := false, false, false; ; {
		id, err := m.createOnce(ctx, spec)
		switch {
		case noImage(err) && !image:
			image = true
			err = m.supply(ctx, c, spec, err)
		case noNetwork(err) && !network: // Podman looks for it when it has the image
			network = true
			err = m.makeSharedNetwork(ctx)
		case noSecret(err) && !secrets: // somebody took them for those of a dead process
			secrets = true
			err = m.storeAgain(ctx)
		default:
			return id, err
		}
		if err != nil {
			return "", err
		}
	}
}

// supply gets the image of a container of which the service has said that it is missing.
func (m *maker) supply(ctx context.Context, c *driver.Container, spec *containerSpec, missing error) error {
	switch {
	case c == nil && spec.Image == walkProgram.Image():
		return m.loadHelper(ctx, walkProgram)
	case c == nil:
		return m.loadHelper(ctx, bare.Pause)
	case c.Pull == driver.PullNever:
		return missing
	}
	return m.pull(ctx, pullOf(c))
}

// createOnce does not heed the end of ctx while the service works: a create that is abandoned might
// still succeed, and nobody would know. It takes a fraction of a second.
func (m *maker) createOnce(ctx context.Context, spec *containerSpec) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	dctx, cancel := detached(ctx)
	defer cancel()
	var made struct {
		ID string `json:"Id"`
	}
	err := m.api.call(dctx, "POST", "/containers/create", nil, spec, &made)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.made = append(m.made, made.ID)
		return made.ID, context.Cause(ctx)
	}
	if nameInUse(err) {
		if m.awaitListed(ctx, spec.Name) || !m.dropRemains(ctx, err) {
			return "", nameTaken(err)
		}
		return m.createOnce(ctx, spec)
	}
	var dial *net.OpError
	if !answered(err) && !(errors.As(err, &dial) && dial.Op == "dial") {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.unsure++
	}
	return "", err
}

func nameInUse(err error) bool {
	return err != nil && answered(err) && strings.Contains(err.Error(), "already in use")
}

func nameTaken(err error) error {
	return driver.WithClass(errdefs.ErrAlreadyExists, "there is a task, sandbox or container of that name already; remove it or choose another name: %v", err)
}

// listTime is how long it may take until a container is listed whose name is taken: on a machine with a busy disk, long. One that never is was left by a service that was killed.
const listTime = 30 * time.Second

// awaitListed returns when the container that has the name is listed, so that who is told of it also finds it: one that the service is just making,
// for a caller whose connection broke, has its name before. It returns false if there is no such container after all this time.
func (m *maker) awaitListed(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, m.listTime)
	defer cancel()
	missing := false
	unsure := func() bool {
		_, err := m.look(ctx, name)
		if ctx.Err() == nil {
			missing = errdefs.IsNotFound(err)
		}
		return err != nil && (errdefs.IsNotFound(err) || unreachable(err)) && ctx.Err() == nil
	}
	if !unsure() {
		return true
	}
	stream, leave := m.hub.listen()
	defer leave()
	for unsure() {
		if _, err := stream.next(ctx); err != nil {
			return !missing
		}
	}
	return true
}

// holderOfName is how the storage says which container has a name.
var holderOfName = regexp.MustCompile(`already in use by "?([0-9a-f]{64})`)

// remainsAge is how long ago the making of a container has begun that nobody is making any more.
const remainsAge = 10 * time.Minute

// dropRemains removes what a service that was killed while it made a container left of it: files with a name, which would keep that for ever. It reports whether
// it did. A container of the service, whoever made it, is none of that; nor is one that may still be in the making.
func (m *maker) dropRemains(ctx context.Context, inUse error) bool {
	id := holderOfName.FindStringSubmatch(inUse.Error())
	if id == nil || ctx.Err() != nil {
		return false
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	err := m.api.call(ctx, "GET", "/containers/"+id[1]+"/exists", nil, nil, nil)
	if !errdefs.IsNotFound(err) {
		return false
	}
	var all []listed
	if err := m.api.call(ctx, "GET", "/containers/json", url.Values{"all": {"true"}, "external": {"true"}}, nil, &all); err != nil {
		return false
	}
	return slices.ContainsFunc(all, func(c listed) bool { return c.ID == id[1] && time.Since(c.Created) > m.remainsAge }) &&
		m.api.call(ctx, "DELETE", "/containers/"+id[1], nil, nil, nil) == nil
}

// undo takes away what was made, also when ctx has ended.
func (m *maker) undo(ctx context.Context) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	ids := m.made
	if m.unsure > 0 {
		ids = append(ids, m.stragglers(ctx)...)
	}
	var errs []error
	for _, id := range slices.Backward(ids) { // the first may hold the network of the others
		errs = append(errs, m.removeContainer(ctx, id))
	}
	if m.spec.Network.Mode == driver.NetworkOwn {
		errs = append(errs, m.dropNetwork(ctx, m.uid))
	}
	return errors.Join(errs...)
}

// stragglerTime is how long a create may go on whose answer did not arrive.
const stragglerTime = 3 * time.Second

// stragglers returns the containers that the service made, or is just making, although nobody heard of it. They are listed when their
// making has ended; their names are taken before.
func (m *maker) stragglers(ctx context.Context) (ids []string) {
	ctx, cancel := context.WithTimeout(ctx, stragglerTime)
	defer cancel()
	stream, leave := m.hub.listen()
	defer leave()
	f := m.filters("", nil)
	f["label"] = append(f["label"], labelUID+"="+m.uid)
	for {
		list, err := m.list(ctx, f)
		for _, c := range list {
			if err == nil && !slices.Contains(m.made, c.ID) && !slices.Contains(ids, c.ID) {
				ids = append(ids, c.ID)
			}
		}
		if len(ids) >= m.unsure {
			break
		}
		if _, err := stream.next(ctx); err != nil {
			break
		}
	}
	return ids
}

// defaultCommand replaces an empty but given list of arguments, which the API cannot tell from
// none, by the image's own entrypoint with nothing behind it.
func (m *maker) defaultCommand(ctx context.Context, c *driver.Container) error {
	if c.Entrypoint != nil || c.Args == nil || len(c.Args) > 0 {
		return nil
	}
	img, err := m.image(ctx, c.Image)
	if errdefs.IsNotFound(err) && c.Pull != driver.PullNever {
		if err := m.pull(ctx, pullOf(c)); err != nil {
			return err
		}
		img, err = m.image(ctx, c.Image)
	}
	if err != nil {
		return err
	}
	c.Entrypoint = slices.Clone(img.Config.Entrypoint)
	return nil
}
