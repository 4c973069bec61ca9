package kubernetes

import (
	"context"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
)

// Remove takes a task away. See [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	h, err := d.parse(string(id))
	if err != nil {
		return nil // nothing of this owner
	}
	return driver.Wrap(ctx, "remove", string(id), classify(d.remove(ctx, h)))
}

// remove deletes the pod and its Secrets, and waits until they are gone. The cluster would remove the Secrets by itself, but later.
func (d *Driver) remove(ctx context.Context, h handle) error {
	return d.removeWithin(ctx, h, 1) // the least for which the kubelet tells when all processes are gone
}

// removeWithin is remove with a grace time in seconds, which is zero for what has never run.
func (d *Driver) removeWithin(ctx context.Context, h handle, grace int64) error {
	p, err := d.pod(ctx, h)
	if errdefs.IsNotFound(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.deletePod(ctx, h, p, grace)
	if apierrors.IsNotFound(err) || errdefs.IsNotFound(err) || apierrors.IsConflict(err) {
		d.pods.put(p, true)
		err = nil
	}
	if err != nil {
		return err
	}
	if err := d.removeSecrets(ctx, p); err != nil {
		return err
	}
	return d.until(ctx, h, func(p *core.Pod) (bool, error) { return p == nil, nil })
}

// deletePod asks for the end of a pod. With a grace time of zero it is gone at once for the API server, and the kubelet clears up when it can, which, in the
// middle of a pull, may be much later: right for a pod in which nothing was started, as long as that is how it is.
func (d *Driver) deletePod(ctx context.Context, h handle, p *core.Pod, grace int64) error {
	for {
		opts := meta.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &meta.Preconditions{UID: &p.UID}}
		early := neverStarted(p)
		if early {
			opts.GracePeriodSeconds, opts.Preconditions.ResourceVersion = new(int64), &p.ResourceVersion
		}
		err := d.api.CoreV1().Pods(d.namespace).Delete(ctx, h.name, opts)
		if !early || !apierrors.IsConflict(err) {
			return err
		}
		if p, err = d.podNow(ctx, h); err != nil {
			return err
		}
	}
}

func (d *Driver) removeSecrets(ctx context.Context, p *core.Pod) error {
	var names []string
	for _, v := range p.Spec.Volumes {
		if v.Name == volGiven && v.Secret != nil {
			names = append(names, v.Secret.SecretName)
		}
	}
	for _, s := range p.Spec.ImagePullSecrets {
		if s.Name == secretName(p, registrySuffix) {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		err := d.api.CoreV1().Secrets(d.namespace).Delete(ctx, name, meta.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
