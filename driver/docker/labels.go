package docker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// Labels of containers, volumes and networks.
const (
	labelPrefix    = "dev.wharfci."
	labelOwner     = labelPrefix + "owner"
	labelKind      = labelPrefix + "kind"
	labelName      = labelPrefix + "name"      // of the task, volume or sandbox
	labelUID       = labelPrefix + "uid"       // random, one for each Create
	labelGroup     = labelPrefix + "group"     // uid of a task of several containers
	labelContainer = labelPrefix + "container" // name within the task
	labelOrder     = labelPrefix + "order"     // of init containers and services
	labelReady     = labelPrefix + "ready"     // a service's check, as JSON
	labelRefused   = labelPrefix + "refused"   // why the container must not be started
	labelSealed    = labelPrefix + "sealed"    // of a holder: it has the task's secrets, see seal.go
	labelOwnNet    = labelPrefix + "own-network"
	labelDialled   = labelPrefix + "dialled" // of a helper: the main container that it connects to
	labelUser      = labelPrefix + "label."  // prefix of the caller's labels
)

// Kinds of containers.
const (
	kindTask    = "task"    // main container
	kindInit    = "init"    // init container of a task
	kindService = "service" // service of a task
	kindHolder  = "holder"  // sleeps and holds the network namespace of a task
	kindSandbox = "sandbox" // the same, made by CreateSandbox
	kindHelper  = "helper"  // mounts a volume for a copy, or is a connection to a task
)

// containerName is the name that keeps the names of an owner's tasks unique. Underscores are in no
// name of a task, an owner or a container, so that no two names run into each other.
func (d *Driver) containerName(task string) string { return "wharf_" + d.owner + "_" + task }

// unfinished is what the name of a main container has behind it, with the task's uid, as long as the task is not complete: it has further containers, or secrets
// that are written when it is there. It gets its name last.
const unfinished = "__new_"

// incomplete tells by the name of a main container whether its task is still being made, or its making broke off.
func incomplete(name string) bool { return strings.Contains(name, unfinished) }

// inMaking is why such a task is neither created nor started.
const inMaking = "its making has not ended, or broke off"

// labels returns the labels of an object, those of the caller under their own prefix.
func (d *Driver) labels(kind, name, uid string, user map[string]string) map[string]string {
	l := map[string]string{labelOwner: d.owner, labelKind: kind, labelName: name, labelUID: uid}
	for k, v := range user {
		l[labelUser+k] = v
	}
	return l
}

// userLabels returns the caller's labels, never nil.
func userLabels(all map[string]string) map[string]string {
	user := map[string]string{}
	for k, v := range all {
		if key, ok := strings.CutPrefix(k, labelUser); ok {
			user[key] = v
		}
	}
	return user
}

// filters selects the owner's objects of a kind (any, if empty) with the caller's labels.
func (d *Driver) filters(kind string, user map[string]string) client.Filters {
	f := client.Filters{}.Add("label", labelOwner+"="+d.owner)
	if kind != "" {
		f.Add("label", labelKind+"="+kind)
	}
	for k, v := range user {
		f.Add("label", labelUser+k+"="+v)
	}
	return f
}

// newUID returns 16 random hexadecimal digits.
func newUID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// handle is what a [driver.TaskID] or [driver.SandboxID] says: the container, and what
// else belongs to it, so that the common case needs no look-up.
type handle struct {
	container string // Docker's id of the main or sleeping container
	group     string // uid of a task of several containers, or empty
	own       bool   // it is on the network of NetworkOwn
	owner     string // short hash of the owner: another owner's handle is of nothing that this one has
}

func (h handle) String() string {
	s := h.container + ".o" + h.owner
	if h.group != "" {
		s += ".g" + h.group
	}
	if h.own {
		s += ".n"
	}
	return s
}

// handleOf returns the handle of a task or sandbox by its container and that one's labels.
func handleOf(id string, labels map[string]string) handle {
	return handle{container: id, group: labels[labelGroup], own: labels[labelOwnNet] != "", owner: ownerSum(labels[labelOwner])}
}

func ownerSum(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:4])
}

// parse reads a handle. One that this package did not make for this owner is of nothing that exists.
func (d *Driver) parse(s string) (handle, error) {
	parts := strings.Split(s, ".")
	h := handle{container: parts[0]}
	bad := !isHex(h.container) || len(h.container) != 64
	for _, p := range parts[1:] {
		switch {
		case p == "n":
			h.own = true
		case p == "o"+ownerSum(d.owner):
			h.owner = p[1:]
		case len(p) == 17 && p[0] == 'g' && isHex(p[1:]):
			h.group = p[1:]
		default:
			bad = true
		}
	}
	if bad || h.owner == "" {
		return handle{}, driver.WithClass(errdefs.ErrNotFound, "there is no such task or sandbox: %q is no handle of this driver and owner", s)
	}
	return h, nil
}

func isHex(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f') })
}

// volumeID joins a volume's name and its uid: a volume that is made again under its name
// has another handle.
func volumeID(docker, uid string) driver.VolumeID { return driver.VolumeID(docker + "." + uid) }

// splitVolume returns Docker's name of a volume and its uid.
func splitVolume(id driver.VolumeID) (docker, uid string, ok bool) {
	i := strings.LastIndexByte(string(id), '.')
	if i < 0 || !strings.HasPrefix(string(id), "wharf_") || !isHex(string(id[i+1:])) {
		return "", "", false
	}
	return string(id[:i]), string(id[i+1:]), true
}
