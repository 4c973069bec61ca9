//go:build linux

package containerd

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Labels of containers and snapshots. Those of the caller follow labelUser.
const (
	labelPrefix    = "dev.wharfci."
	labelOwner     = labelPrefix + "owner"
	labelName      = labelPrefix + "name"      // the task's
	labelUID       = labelPrefix + "uid"       // the same in all containers of a task
	labelKind      = labelPrefix + "kind"      // kindTask, kindInit, kindService
	labelContainer = labelPrefix + "container" // the name of an init container or service
	labelIndex     = labelPrefix + "index"     // its place, from 0
	labelReady     = labelPrefix + "ready"     // a service's check, in JSON
	labelMembers   = labelPrefix + "members"   // of the main container: how many others there are
	labelNetwork   = labelPrefix + "network"   // of the main container: whose network it uses
	labelVolumes   = labelPrefix + "volumes"   // the volumes of the container
	labelRefused   = labelPrefix + "refused"   // why it must not be started
	labelMark      = labelPrefix + "mark"      // why it will not be started, see state.go
	labelReason    = labelPrefix + "reason"    // the runtime's words about the mark
	labelGoing     = labelPrefix + "going"     // of the main container: Remove has begun
	labelUser      = labelPrefix + "label."

	kindTask    = "task"
	kindInit    = "init"
	kindService = "service"
)

func newUID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// handle is what a [driver.TaskID] says: the main container, and the life of that name.
type handle struct {
	container string // the main container's id, which owner and name determine
	uid       string
	owner     string // short hash of the owner: another owner's handle is of nothing that this one has
}

func (h handle) String() string { return h.container + "." + h.uid + "." + h.owner }

// member is the id of an init container or service.
func (h handle) member(kind, index string) string {
	return h.container + "-" + h.uid + "-" + kind[:1] + index
}

// snapshot is the key of the main container's file system.
func (h handle) snapshot() string { return h.container + "-" + h.uid }

// mainContainer is the id of the main container of a task: it is the name's reservation, in every process.
func mainContainer(owner, name string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + name))
	return "w" + hex.EncodeToString(sum[:12])
}

func ownerSum(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:4])
}

func (d *Driver) handle(container, uid string) handle {
	return handle{container, uid, ownerSum(d.owner)}
}

// parse reads a handle. One that this package did not make for this owner is of nothing that exists.
func (d *Driver) parse(s string) (handle, error) {
	parts := strings.Split(s, ".")
	if len(parts) == 3 {
		h := handle{parts[0], parts[1], parts[2]}
		if len(h.container) == 25 && h.container[0] == 'w' && isHex(h.container[1:]) && len(h.uid) == 16 && isHex(h.uid) && h.owner == ownerSum(d.owner) {
			return h, nil
		}
	}
	return handle{}, driver.WithClass(errdefs.ErrNotFound, "there is no such task: %q is no handle of this driver and owner", s)
}

func isHex(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f') })
}

// labels returns those of a container.
func (d *Driver) labels(kind, name, uid string, user map[string]string) map[string]string {
	l := map[string]string{labelOwner: d.owner, labelName: name, labelUID: uid, labelKind: kind}
	maps.Copy(l, withPrefix(user))
	return l
}

// withPrefix returns the caller's labels as containerd stores them. It drops labels without a value.
func withPrefix(user map[string]string) map[string]string {
	l := map[string]string{}
	for k, v := range user {
		l[labelUser+k] = "=" + v
	}
	return l
}

func userLabels(labels map[string]string) map[string]string {
	l := map[string]string{}
	for k, v := range labels {
		if name, ok := strings.CutPrefix(k, labelUser); ok {
			l[name] = strings.TrimPrefix(v, "=")
		}
	}
	return l
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

// taskDir is the directory of a task's logs and files.
func (d *Driver) taskDir(h handle) string {
	return filepath.Join(d.cfg.Root, "tasks", h.container+"."+h.uid)
}

// secretDir is where a task's secrets are.
func (d *Driver) secretDir(uid string) string { return filepath.Join(d.cfg.State, "secrets", uid) }
