package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wharfci/wharf/driver"
)

// Labels and annotations of what this package makes. A value of a label has at most 63 bytes, so labels have hashes, and
// annotations what they stand for.
const (
	prefix         = "dev.wharfci/"
	labelOwner     = prefix + "owner" // hash of the owner
	labelKind      = prefix + "kind"
	labelVolume    = "volume.dev.wharfci/" // with the claim's name: the pod mounts it
	labelCaller    = "label.dev.wharfci/"  // with the key of a label of the caller's; see selectable
	noteOwner      = prefix + "owner"
	noteName       = prefix + "name"     // the task's or volume's
	noteLabels     = prefix + "labels"   // the caller's, in JSON
	noteDefaults   = prefix + "defaults" // which containers take their command from the image, in JSON
	noteMade       = prefix + "made"     // different in each pod that was asked for
	noteAt         = prefix + "at"       // when the pod was asked for, in nanoseconds: the API server keeps seconds
	noteGated      = prefix + "gated"    // on a pod that was made with gateStart: without that, it has been started
	noteStopped    = prefix + "stopped"  // when Stop found no keeper: the task has ended with that, whatever becomes of the pod
	kindTask       = "task"
	kindCopy       = "copy" // a pod that copies files of a volume
	kindVolume     = "volume"
	gateStart      = prefix + "start"   // lifted by Start
	gateComplete   = prefix + "secrets" // lifted when the pod's Secrets are there
	keeper         = "keeper"
	secretSuffix   = "-secrets"
	registrySuffix = "-registries"
)

// inMaking is why a task that gateComplete still holds is neither created nor started.
const inMaking = "its making has not ended, or broke off: its Secrets are not there"

// handle is what a [driver.TaskID] or [driver.VolumeID] says: an object's name and UID, and whose it is.
type handle struct {
	name, uid, owner string
}

func (h handle) String() string { return h.name + "." + h.uid + "." + h.owner }

func (h handle) id() driver.TaskID { return driver.TaskID(h.String()) }

var handles = regexp.MustCompile(`^([a-z0-9][a-z0-9-]*)\.([0-9a-f-]{36})\.([0-9a-f]{16})$`)

// parse reads a handle. One that this package did not make for this owner is of nothing that exists.
func (d *Driver) parse(s string) (handle, error) {
	if m := handles.FindStringSubmatch(s); m != nil && m[3] == sum(d.owner) {
		return handle{m[1], m[2], m[3]}, nil
	}
	return handle{}, driver.WithClass(errdefs.ErrNotFound, "there is no such task or volume: %q is no handle of this driver and owner", s)
}

func (d *Driver) handleOf(o meta.Object) handle {
	return handle{o.GetName(), string(o.GetUID()), sum(d.owner)}
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}

// objectName is the name of a task's pod or a volume's claim: it is the reservation of the name, in every process.
func (d *Driver) objectName(kind, name string) string {
	readable := strings.ReplaceAll(name, ".", "-")
	readable = strings.TrimRight(readable[:min(len(readable), 40)], "-")
	return readable + "-" + sum(d.owner+"\x00"+kind+"\x00"+name)
}

func (d *Driver) selector(kind string) string {
	return labelOwner + "=" + sum(d.owner) + "," + labelKind + "=" + kind
}

// object is the metadata of a new object.
func (d *Driver) object(kind, name string, labels map[string]string) (meta.ObjectMeta, error) {
	text, err := json.Marshal(labels)
	if err != nil {
		return meta.ObjectMeta{}, err
	}
	o := meta.ObjectMeta{
		Name: d.objectName(kind, name), Namespace: d.namespace,
		Labels:      map[string]string{labelOwner: sum(d.owner), labelKind: kind},
		Annotations: map[string]string{noteOwner: d.owner, noteName: name, noteLabels: string(text)},
	}
	if p := d.cfg.Parent; p != (Parent{}) {
		o.OwnerReferences = []meta.OwnerReference{{APIVersion: p.APIVersion, Kind: p.Kind, Name: p.Name, UID: types.UID(p.UID)}}
	}
	return o, nil
}

// maxSelectable bounds how much the caller's labels add to each pod, which has them in its annotation anyway.
const maxSelectable = 64

// selectable are the caller's labels as a pod has them for others to select it by: those that Kubernetes can have as labels, the first of them in
// the order of their keys. This package reads noteLabels, which has all.
func selectable(labels map[string]string) map[string]string {
	out := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if len(out) < maxSelectable && len(content.IsLabelKey(labelCaller+k)) == 0 && len(content.IsLabelValue(labels[k])) == 0 {
			out[labelCaller+k] = labels[k]
		}
	}
	return out
}

// ownedBy is the reference that lets the cluster remove an object with its pod.
func ownedBy(p *core.Pod) []meta.OwnerReference {
	return []meta.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}}
}

func userLabels(o meta.Object) map[string]string {
	labels := map[string]string{}
	_ = json.Unmarshal([]byte(o.GetAnnotations()[noteLabels]), &labels) // what someone else has spoilt has no labels
	return labels
}

// matches reports whether labels has every one of want, with exactly these values.
func matches(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
