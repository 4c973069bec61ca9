package kubernetes

import (
	"archive/tar"
	stdbytes "bytes"
	"context"
	"crypto/rand"
	"errors"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Where there is no storage class, a volume is a directory of a node below [Config].VolumeRoot. Its claim is no more than the record
// of it, which no volume of the cluster ever satisfies: annotations say where the directory is.
const (
	noteNode      = prefix + "node"
	noteDirectory = prefix + "directory"
)

func isOnNode(claim *core.PersistentVolumeClaim) bool { return claim.Annotations[noteDirectory] != "" }

// ownDirectory refuses a directory that this driver would not have made: who may write claims must not get at other files of a node.
func (d *Driver) ownDirectory(claim *core.PersistentVolumeClaim) error {
	dir := claim.Annotations[noteDirectory]
	if dir == "" || d.cfg.VolumeRoot != "" && path.Clean(dir) == dir && path.Dir(dir) == d.cfg.VolumeRoot && strings.HasPrefix(path.Base(dir), claim.Name+"-") {
		return nil
	}
	return driver.WithClass(errdefs.ErrFailedPrecondition, "the claim %s says that its volume is the directory %q of a node, which is not one of the VolumeRoot %q that this driver was configured with", claim.Name, dir, d.cfg.VolumeRoot)
}

// sourceOf is what a pod mounts of a volume.
func sourceOf(claim *core.PersistentVolumeClaim) core.VolumeSource {
	if isOnNode(claim) {
		return hostPath(claim.Annotations[noteDirectory], core.HostPathDirectory)
	}
	return core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}}
}

func hostPath(dir string, is core.HostPathType) core.VolumeSource {
	return core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: dir, Type: &is}}
}

// pin lets a pod run on the node of a volume that is on one.
func pin(pod *core.Pod, claim *core.PersistentVolumeClaim) {
	if !isOnNode(claim) {
		return
	}
	a := affinity(pod)
	if a.NodeAffinity == nil {
		a.NodeAffinity = &core.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{}}}}
	}
	term := &a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]
	term.MatchFields = append(term.MatchFields, onNamed(claim.Annotations[noteNode]))
}

func onNamed(node string) core.NodeSelectorRequirement {
	return core.NodeSelectorRequirement{Key: "metadata.name", Operator: core.NodeSelectorOpIn, Values: []string{node}}
}

// onNode makes the directory of a volume, and completes the claim that is to be its record.
func (d *Driver) onNode(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	claims, err := d.api.CoreV1().PersistentVolumeClaims(d.namespace).List(ctx, meta.ListOptions{LabelSelector: d.selector(kindVolume)})
	if err != nil {
		return err
	}
	pod, err := d.copyPod(hostPath(d.cfg.VolumeRoot, core.HostPathDirectoryOrCreate))
	if err != nil {
		return err
	}
	for i := range claims.Items {
		c := &claims.Items[i]
		if c.Name == claim.Name {
			return existsAlready(claim)
		}
		if isOnNode(c) { // else no task could use both
			preferNode(pod, c.Annotations[noteNode])
		}
	}
	dir := claim.Name + "-" + strings.ToLower(rand.Text())
	made, c, leave, err := d.callCopyPod(ctx, pod, wire.Request{Op: wire.OpCopyIn, Path: "/"}, troubleOf)
	if err != nil {
		return err
	}
	defer leave()
	defer c.close()
	var entry stdbytes.Buffer
	w := tar.NewWriter(&entry)
	err = errors.Join(c.understood(),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o777}), w.Close(),
		c.Write(wire.FrameData, entry.Bytes()), c.Write(wire.FrameEnd, nil))
	if err != nil {
		return err
	}
	if err := c.ended(); err != nil {
		return err
	}
	claim.Annotations[noteDirectory], claim.Annotations[noteNode] = path.Join(d.cfg.VolumeRoot, dir), made.Spec.NodeName
	claim.Spec.StorageClassName = new(string)
	claim.Spec.Selector = &meta.LabelSelector{MatchLabels: map[string]string{noteDirectory: "on-a-node"}} // no volume has it
	return nil
}

// unmakeOnNode takes back what was made for a claim that the API server has not made, or whose answer was lost. What it cannot find out stays.
func (d *Driver) unmakeOnNode(ctx context.Context, claim *core.PersistentVolumeClaim) {
	clear, cancel := detached(ctx)
	defer cancel()
	claims := d.api.CoreV1().PersistentVolumeClaims(d.namespace)
	there, err := claims.Get(clear, claim.Name, meta.GetOptions{})
	if err == nil && there.Annotations[noteDirectory] == claim.Annotations[noteDirectory] {
		err = claims.Delete(clear, claim.Name, meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &there.UID}})
	}
	if err == nil || apierrors.IsNotFound(err) {
		_ = d.clearNode(clear, claim) // an empty directory at most
	}
}

// preferNode has the scheduler choose a node if it can.
func preferNode(pod *core.Pod, node string) {
	a := affinity(pod)
	if a.NodeAffinity == nil {
		a.NodeAffinity = &core.NodeAffinity{}
	}
	a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
		core.PreferredSchedulingTerm{Weight: 1, Preference: core.NodeSelectorTerm{MatchFields: []core.NodeSelectorRequirement{onNamed(node)}}})
}

// clearNode removes the directory of a volume.
func (d *Driver) clearNode(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	root, dir := path.Split(claim.Annotations[noteDirectory])
	pod, err := d.copyPod(hostPath(path.Clean(root), core.HostPathDirectoryOrCreate))
	if err != nil {
		return err
	}
	pin(pod, claim)
	_, c, leave, err := d.callCopyPod(ctx, pod, wire.Request{Op: wire.OpClear, Path: "/" + dir}, func(p *core.Pod) error {
		if said := unschedulable(p); said != "" {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "the directory %s cannot be removed: its node %s takes no pod: %s; if the node is gone for good, delete the claim %s by hand",
				claim.Annotations[noteDirectory], claim.Annotations[noteNode], said, claim.Name)
		}
		return troubleOf(p)
	})
	if err != nil {
		return err
	}
	defer leave()
	defer c.close()
	return c.ended()
}

// ended waits for the answer to a call, and returns its error.
func (c *call) ended() error {
	a, err := c.answer(nil)
	if err != nil {
		return err
	}
	return ofAnswer(a)
}

// unschedulable returns the scheduler's words if it finds no node for a pod.
func unschedulable(p *core.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == core.PodScheduled && c.Status == core.ConditionFalse && c.Reason == core.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}
