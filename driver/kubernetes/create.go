package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wharfci/wharf/driver"
)

// Create makes a task. See [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.create(ctx, &spec)
	return id, driver.Wrap(ctx, "create", spec.Name, classify(err))
}

func (d *Driver) create(ctx context.Context, spec *driver.TaskSpec) (driver.TaskID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := d.refuse(spec); err != nil {
		return "", err
	}
	claims, err := d.claimsOf(ctx, spec)
	if err != nil {
		return "", err
	}
	pod, err := d.buildPod(spec, claims)
	if err != nil {
		return "", err
	}
	if err := d.pods.ready(ctx); err != nil {
		return "", err
	}
	d.stayTogether(pod)
	made, err := d.makePod(ctx, pod)
	if err != nil {
		return "", err
	}
	h := d.handleOf(made)
	if err := d.complete(ctx, h, made, spec); err != nil {
		clear, cancel := detached(ctx)
		defer cancel()
		// Someone else may have removed the pod, and with it the Secrets that were there then.
		return "", errors.Join(err, d.removeWithin(clear, h, 0), d.removeSecrets(clear, made))
	}
	return h.id(), nil
}

// makePod creates the pod. A request whose answer was lost may have been obeyed, so what it made is taken away again.
func (d *Driver) makePod(ctx context.Context, pod *core.Pod) (*core.Pod, error) {
	made, err := d.api.CoreV1().Pods(d.namespace).Create(ctx, pod, meta.CreateOptions{})
	switch {
	case err == nil:
		d.pods.add(made)
		return made, nil
	case apierrors.IsAlreadyExists(err):
		return nil, driver.WithClass(errdefs.ErrAlreadyExists, "the owner has a task of that name (pod %s)", pod.Name)
	case classOfStatus(err) != nil:
		return nil, err
	}
	return nil, errors.Join(err, d.unmake(ctx, pod))
}

// unmake removes a pod that this call may have made. It knows it by its mark.
func (d *Driver) unmake(ctx context.Context, pod *core.Pod) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	there, err := d.api.CoreV1().Pods(d.namespace).Get(ctx, pod.Name, meta.GetOptions{})
	if err != nil || there.Annotations[noteMade] != pod.Annotations[noteMade] {
		return nil // not made; or, while the API server is away, for List and Remove to find
	}
	return d.remove(ctx, d.handleOf(there))
}

// complete adds what belongs to the pod, and waits until the task can be started.
func (d *Driver) complete(ctx context.Context, h handle, pod *core.Pod, spec *driver.TaskSpec) error {
	if err := d.makeSecrets(ctx, pod, spec); err != nil {
		return err
	}
	if d.cfg.Gate {
		return nil
	}
	var last *core.Pod
	err := d.until(ctx, h, func(p *core.Pod) (bool, error) {
		if p == nil {
			return false, driver.WithClass(errdefs.ErrNotFound, "the pod was removed by someone else")
		}
		last = p
		if stopped(p) { // by someone else: a task that has ended
			return true, nil
		}
		return allRun(p), troubleOf(p)
	})
	var t *trouble
	if errors.As(err, &t) {
		return d.explain(ctx, last, t, spec)
	}
	if cause := context.Cause(ctx); cause != nil {
		return d.givenUp(ctx, h, cause)
	}
	return err
}

// givenUp adds to the end of a context what the scheduler says of the pod, if no node takes it.
func (d *Driver) givenUp(ctx context.Context, h handle, cause error) error {
	asking, cancel := detached(ctx)
	defer cancel()
	p, err := d.api.CoreV1().Pods(d.namespace).Get(asking, h.name, meta.GetOptions{})
	if err != nil {
		return cause
	}
	if said := unschedulable(p); said != "" {
		return fmt.Errorf("%w while no node took the pod: %s", cause, said)
	}
	return cause
}

// makeSecrets makes the Secrets that the pod's gate waits for, and lifts that.
func (d *Driver) makeSecrets(ctx context.Context, pod *core.Pod, spec *driver.TaskSpec) error {
	var list []*core.Secret
	if len(spec.Secrets) > 0 {
		data := map[string][]byte{}
		for i, s := range spec.Secrets {
			data[strconv.Itoa(i)] = s.Value
		}
		list = append(list, &core.Secret{ObjectMeta: d.belonging(pod, secretSuffix), Data: data})
	}
	if creds := credentials(spec); len(creds) > 0 {
		text, err := json.Marshal(dockerConfig{Auths: creds})
		if err != nil {
			return err
		}
		list = append(list, &core.Secret{
			ObjectMeta: d.belonging(pod, registrySuffix), Type: core.SecretTypeDockerConfigJson, Data: map[string][]byte{core.DockerConfigJsonKey: text},
		})
	}
	for _, s := range list {
		if _, err := d.api.CoreV1().Secrets(d.namespace).Create(ctx, s, meta.CreateOptions{}); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	return d.lift(ctx, pod, gateComplete)
}

func (d *Driver) belonging(pod *core.Pod, suffix string) meta.ObjectMeta {
	return meta.ObjectMeta{
		Name: secretName(pod, suffix), Namespace: d.namespace, OwnerReferences: ownedBy(pod),
		Labels: map[string]string{labelOwner: sum(d.owner), labelKind: kindTask},
	}
}

// secretName is that of a Secret of a pod; no other pod of that name has it.
func secretName(pod *core.Pod, suffix string) string {
	made := pod.Annotations[noteMade]
	return pod.Name + "-" + made[:min(8, len(made))] + suffix
}

// lift takes a scheduling gate away, unless the task was stopped. The API server refuses what it is asked by a pod that has changed, so a Stop at the same
// time comes before or behind it.
func (d *Driver) lift(ctx context.Context, p *core.Pod, gate string) error {
	type object = map[string]any
	for gated(p, gate) && !stopped(p) {
		patch, err := json.Marshal(object{
			"metadata": object{"uid": p.UID, "resourceVersion": p.ResourceVersion},
			"spec":     object{"schedulingGates": []object{{"$patch": "delete", "name": gate}}},
		})
		if err != nil {
			return err
		}
		_, err = d.api.CoreV1().Pods(d.namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, meta.PatchOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
		if p, err = d.podNow(ctx, d.handleOf(p)); err != nil {
			return err
		}
	}
	return nil
}

// trouble is why a container does not come to run.
type trouble struct {
	container, image string
	reason, message  string
}

func (t *trouble) Error() string {
	return fmt.Sprintf("container %s with the image %s: %s: %s", t.container, t.image, t.reason, t.message)
}

// inVain are the reasons of the kubelet that waiting does not mend, or not for long enough.
var inVain = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError",
}

// troubleOf returns why the pod will not come to run, or nil.
func troubleOf(p *core.Pod) error {
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		s := containerStatus(p, c.Name)
		if s == nil {
			continue
		}
		if w := s.State.Waiting; w != nil && slices.Contains(inVain, w.Reason) {
			return &trouble{c.Name, c.Image, w.Reason, w.Message}
		}
		if t := s.State.Terminated; t != nil {
			return &trouble{c.Name, c.Image, t.Reason, fmt.Sprintf("it ended with code %d: %s", t.ExitCode, t.Message)}
		}
	}
	if terminal(p) {
		return driver.WithClass(errdefs.ErrUnavailable, "the pod has failed: %s: %s", p.Status.Reason, p.Status.Message)
	}
	return nil
}

// explain adds what the kubelet does not say: the registry's own words, and what to do about the helper's image.
func (d *Driver) explain(ctx context.Context, p *core.Pod, t *trouble, spec *driver.TaskSpec) error {
	class := classOfWords(t.reason + ": " + t.message)
	if class == nil {
		class = errdefs.ErrFailedPrecondition
	}
	msg := t.Error()
	switch {
	case t.container == keeper:
		msg += "; the nodes need the helper's image: make it with \"wharf helper-image\", and name its place with Config.HelperImage (helper-image= in the URL of the driver)"
	case t.reason == "ErrImagePull" || t.reason == "ImagePullBackOff":
		if said := d.registrySays(ctx, p, t, spec); said != nil {
			msg += "; the registry says: " + said.Error()
			if c := classOf(classify(said)); c != nil {
				class = c
			}
		}
	}
	return driver.WithClass(class, "%s", msg)
}
