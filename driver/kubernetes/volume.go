package kubernetes

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// CreateVolume makes a claim. See [driver.Driver]. With most storage classes it is bound when the first task uses it.
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createVolume(ctx, spec)
	return id, driver.Wrap(ctx, "create volume", spec.Name, classify(err))
}

func (d *Driver) createVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	object, err := d.object(kindVolume, spec.Name, spec.Labels)
	if err != nil {
		return "", err
	}
	claim := &core.PersistentVolumeClaim{ObjectMeta: object}
	claim.Spec.AccessModes = []core.PersistentVolumeAccessMode{core.ReadWriteOnce}
	claim.Spec.Resources.Requests = core.ResourceList{core.ResourceStorage: bytes(cmp.Or(spec.Size, d.cfg.VolumeSize))}
	if d.cfg.StorageClass != "" {
		claim.Spec.StorageClassName = &d.cfg.StorageClass
	}
	if d.cfg.VolumeRoot != "" {
		if err := d.onNode(ctx, claim); err != nil {
			return "", err
		}
	}
	made, err := d.api.CoreV1().PersistentVolumeClaims(d.namespace).Create(ctx, claim, meta.CreateOptions{})
	if err != nil && isOnNode(claim) {
		d.unmakeOnNode(ctx, claim)
	}
	if apierrors.IsAlreadyExists(err) {
		return "", existsAlready(claim)
	}
	if err != nil {
		return "", err
	}
	return driver.VolumeID(d.handleOf(made).String()), nil
}

func existsAlready(claim *core.PersistentVolumeClaim) error {
	return driver.WithClass(errdefs.ErrAlreadyExists, "the owner has a volume of that name (claim %s)", claim.Name)
}

// claim returns a volume's claim.
func (d *Driver) claim(ctx context.Context, id driver.VolumeID) (*core.PersistentVolumeClaim, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	c, err := d.api.CoreV1().PersistentVolumeClaims(d.namespace).Get(ctx, h.name, meta.GetOptions{})
	if err == nil && (string(c.UID) != h.uid || c.Labels[labelOwner] != sum(d.owner) || c.DeletionTimestamp != nil) {
		err = driver.WithClass(errdefs.ErrNotFound, "there is no such volume: %q", id)
	}
	if err == nil {
		err = d.ownDirectory(c)
	}
	return c, err
}

// claimsOf returns the claims of the volumes that a task uses.
func (d *Driver) claimsOf(ctx context.Context, spec *driver.TaskSpec) (map[driver.VolumeID]*core.PersistentVolumeClaim, error) {
	claims := map[driver.VolumeID]*core.PersistentVolumeClaim{}
	for _, p := range parts(spec) {
		for _, m := range p.Mounts {
			if _, ok := claims[m.Volume]; ok {
				continue
			}
			c, err := d.claim(ctx, m.Volume)
			if err != nil {
				return nil, fmt.Errorf("%s.Mounts: volume %s: %w", p.field, m.Volume, err)
			}
			claims[m.Volume] = c
		}
	}
	return claims, nil
}

// stayTogether lets a pod run where those run that share its claims: a claim of the mode ReadWriteOnce is on one node at a time.
func (d *Driver) stayTogether(pod *core.Pod) {
	var inUse, all []core.PodAffinityTerm
	d.pods.mu.Lock()
	defer d.pods.mu.Unlock()
	for label := range pod.Labels {
		if !strings.HasPrefix(label, labelVolume) {
			continue
		}
		term := core.PodAffinityTerm{
			LabelSelector: &meta.LabelSelector{MatchExpressions: []meta.LabelSelectorRequirement{{Key: label, Operator: meta.LabelSelectorOpExists}}},
			TopologyKey:   core.LabelHostname,
		}
		all = append(all, term)
		for _, p := range d.pods.pods {
			if _, ok := p.Labels[label]; ok && !terminal(p) && p.DeletionTimestamp == nil {
				inUse = append(inUse, term)
				break
			}
		}
	}
	if len(inUse) == 0 {
		inUse = all // the scheduler lets the first of such pods run anywhere
	}
	if len(inUse) > 0 {
		slices.SortFunc(inUse, func(a, b core.PodAffinityTerm) int {
			return cmp.Compare(a.LabelSelector.MatchExpressions[0].Key, b.LabelSelector.MatchExpressions[0].Key)
		})
		affinity(pod).PodAffinity = &core.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: inUse}
	}
}

func affinity(pod *core.Pod) *core.Affinity {
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &core.Affinity{}
	}
	return pod.Spec.Affinity
}

// RemoveVolume deletes a volume. See [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "remove volume", string(id), classify(d.removeVolume(ctx, id)))
}

func (d *Driver) removeVolume(ctx context.Context, id driver.VolumeID) error {
	h, err := d.parse(string(id))
	if err != nil {
		return nil // nothing of this owner
	}
	pods, err := d.api.CoreV1().Pods(d.namespace).List(ctx, meta.ListOptions{LabelSelector: labelOwner + "=" + sum(d.owner) + "," + labelVolume + h.name})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		switch {
		case p.DeletionTimestamp != nil:
		case p.Labels[labelKind] == kindCopy && terminal(p): // left by a process that has died
			if err := d.remove(ctx, d.handleOf(p)); err != nil {
				return err
			}
		case p.Labels[labelKind] == kindTask:
			return driver.WithClass(errdefs.ErrFailedPrecondition, "the task %s refers to the volume", p.Annotations[noteName])
		}
	}
	claim, err := d.claim(ctx, id)
	if err != nil && !errdefs.IsNotFound(classify(err)) {
		return err
	}
	if err == nil && isOnNode(claim) {
		if err := d.clearNode(ctx, claim); err != nil {
			return err
		}
	}
	uid := types.UID(h.uid)
	claims := d.api.CoreV1().PersistentVolumeClaims(d.namespace)
	one := meta.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", h.name).String()}
	err = claims.Delete(ctx, h.name, meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.untilClaimGone(ctx, h, one)
}

// untilClaimGone waits until the cluster has let go of a claim.
func (d *Driver) untilClaimGone(ctx context.Context, h handle, one meta.ListOptions) error {
	claims := d.api.CoreV1().PersistentVolumeClaims(d.namespace)
	var b backoff
	t := d.tries()
	for {
		list, err := claims.List(ctx, one)
		if err == nil {
			if len(list.Items) == 0 || string(list.Items[0].UID) != h.uid {
				return nil
			}
			opts := one
			opts.ResourceVersion = list.ResourceVersion
			var stream watch.Interface
			if stream, err = claims.Watch(ctx, opts); err == nil {
				gone := false
				for ev := range stream.ResultChan() {
					if gone = ev.Type == watch.Deleted; gone {
						break
					}
				}
				stream.Stop()
				if gone {
					return nil
				}
			}
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			if err := t.failed(err); err != nil {
				return err
			}
		}
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

// ListVolumes returns the owner's volumes. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	ctx, done := d.begin(ctx)
	defer done()
	list, err := d.listVolumes(ctx, opts)
	return list, driver.Wrap(ctx, "list volumes", "", classify(err))
}

func (d *Driver) listVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	if err := driver.ValidLabels(opts.Labels); err != nil {
		return nil, err
	}
	claims, err := d.api.CoreV1().PersistentVolumeClaims(d.namespace).List(ctx, meta.ListOptions{LabelSelector: d.selector(kindVolume)})
	if err != nil {
		return nil, err
	}
	list := []driver.Volume{}
	for i := range claims.Items {
		c := &claims.Items[i]
		if labels := userLabels(c); c.DeletionTimestamp == nil && matches(labels, opts.Labels) {
			list = append(list, driver.Volume{
				ID: driver.VolumeID(d.handleOf(c).String()), Name: c.Annotations[noteName], Labels: labels, Created: c.CreationTimestamp.UTC(), Used: -1,
			})
		}
	}
	slices.SortFunc(list, func(a, b driver.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// callVolume calls a keeper that has the volume as its root. Its pod is removed by leave.
func (d *Driver) callVolume(ctx context.Context, id driver.VolumeID, r wire.Request) (c *call, leave func(), err error) {
	claim, err := d.claim(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	pod, err := d.copyPod(sourceOf(claim))
	if err != nil {
		return nil, nil, err
	}
	pod.Labels[labelVolume+claim.Name] = ""
	pin(pod, claim)
	_, c, leave, err = d.callCopyPod(ctx, pod, r, troubleOf)
	return c, leave, err
}

// callCopyPod makes the pod and calls its keeper, which takes one call. Trouble says why the pod will not come to run. Leave removes the pod.
func (d *Driver) callCopyPod(ctx context.Context, pod *core.Pod, r wire.Request, trouble func(*core.Pod) error) (made *core.Pod, c *call, leave func(), err error) {
	if err := d.pods.ready(ctx); err != nil {
		return nil, nil, nil, err
	}
	d.stayTogether(pod)
	if made, err = d.makePod(ctx, pod); err != nil {
		return nil, nil, nil, err
	}
	h := d.handleOf(made)
	leave = func() {
		clear, cancel := detached(ctx)
		defer cancel()
		_ = d.remove(clear, h) // else it ends by itself at its deadline
	}
	err = d.until(ctx, h, func(p *core.Pod) (bool, error) {
		if p == nil {
			return false, driver.WithClass(errdefs.ErrUnavailable, "the pod that copies was removed by someone else")
		}
		made = p
		return allRun(p), trouble(p)
	})
	if err == nil {
		c, err = d.call(ctx, h.name, r)
	}
	if err != nil {
		leave()
		return nil, nil, nil, asPrecondition(err)
	}
	return made, c, leave, nil
}

func asPrecondition(err error) error {
	var t *trouble
	if errors.As(err, &t) {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s", t.Error())
	}
	return err
}

// copyDeadline ends a pod that copies if nobody removes it.
const copyDeadline = 6 * time.Hour

// copyPod is a pod of a keeper alone, which may write every file of a volume.
func (d *Driver) copyPod(volume core.VolumeSource) (*core.Pod, error) {
	o, err := d.object(kindCopy, strings.ToLower(rand.Text()), nil)
	if err != nil {
		return nil, err
	}
	c := d.keeperContainer()
	root, no := int64(0), false
	c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup, c.SecurityContext.RunAsNonRoot = &root, &root, &no
	c.SecurityContext.Capabilities.Add = []core.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SYS_CHROOT"}
	c.VolumeMounts = []core.VolumeMount{{Name: volPrivate, MountPath: wire.Private}, {Name: "volume", MountPath: wire.Volume}}
	c.Env = []core.EnvVar{{Name: wire.PlanVariable, Value: "{}"}}
	c.Lifecycle = &core.Lifecycle{PostStart: &core.LifecycleHandler{Exec: &core.ExecAction{Command: []string{"/helper", "await"}}}}
	seconds := int64(copyDeadline / time.Second)
	pod := &core.Pod{ObjectMeta: o, Spec: core.PodSpec{
		RestartPolicy: core.RestartPolicyNever, EnableServiceLinks: &no, AutomountServiceAccountToken: &no, ServiceAccountName: d.cfg.ServiceAccount,
		ActiveDeadlineSeconds: &seconds, NodeSelector: d.cfg.NodeSelector,
		SecurityContext: &core.PodSecurityContext{SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}},
		Containers:      []core.Container{c},
		Volumes: []core.Volume{
			{Name: volPrivate, VolumeSource: emptyDir()},
			{Name: "volume", VolumeSource: volume},
		},
	}}
	for _, name := range d.cfg.PullSecrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, core.LocalObjectReference{Name: name})
	}
	pod.Spec.Tolerations, err = tolerations(d.cfg.Tolerations)
	return pod, err
}
