package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func volumes() []Case {
	const (
		outlives = "A volume is a directory that outlives tasks."
		inUse    = "RemoveVolume: a volume that a task still refers to, running or not, is refused with FailedPrecondition."
	)
	return group("volumes",
		Case{ID: "in-turn", Contract: outlives, Run: volumeInTurn},
		Case{ID: "at-once", Contract: "The tasks that mount a volume share it.", Run: volumeAtOnce},
		Case{ID: "users", Contract: "Owners and modes of what is in a volume are the same for every task.", Run: volumeUsers},
		Case{ID: "persists", Contract: outlives + " Volumes that the spec only refers to stay.", Run: volumePersists},
		Case{ID: "empty", Contract: "CreateVolume makes an empty volume.", Run: volumeEmpty},
		Case{ID: "isolated", Contract: "A volume is found by name; another name is another volume.", Run: volumeIsolated},
		Case{ID: "two-mounts", Contract: "Mounts are the volumes in this container.", Run: twoMounts},
		Case{ID: "in-use-created", Contract: inUse, Run: func(e *Env) { volumeRefused(e, driver.StateCreated) }},
		Case{ID: "in-use-running", Contract: inUse, Run: func(e *Env) { volumeRefused(e, driver.StateRunning) }},
		Case{ID: "in-use-ended", Contract: inUse, Run: func(e *Env) { volumeRefused(e, driver.StateEnded) }},
		Case{ID: "remove-missing", Contract: "RemoveVolume: of a volume that does not exist it returns nil.", Run: removeMissingVolume},
		Case{ID: "remove-at-once", Contract: "RemoveVolume: of a volume that does not exist it returns nil, also if another call is just removing it.", Run: removeVolumeAtOnce},
		Case{ID: "name-in-use", Contract: "CreateVolume: a volume of that name which the owner has already is AlreadyExists.", Run: volumeNameInUse},
		Case{ID: "bad-spec", Contract: "VolumeSpec.Validate: InvalidArgument.", Run: volumeBadSpec},
		Case{ID: "list", Contract: "ListVolumes returns the owner's volumes that opts selects, ordered by name.", Run: listVolumes},
		Case{ID: "owners", Contract: "A driver sees volumes of its own owner only, and names are unique within it.", Run: volumeOwners},
		Case{ID: "sub-path", Contract: "SubPath is a directory inside the volume that is mounted in place of its root. It is made if it does not exist.", Run: volumeSubPath},
		Case{ID: "read-only", Contract: "ReadOnly refuses writes.", Run: volumeReadOnly},
		Case{ID: "usage", Contract: "Used is how many bytes are in the volume, or -1 if the runtime does not say.", Run: volumeUsage},
	)
}

// with returns a task that runs the test program with the volume at /v.
func (e *Env) with(vol driver.VolumeID, args ...string) driver.TaskSpec {
	spec := e.spec(args...)
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v"}}
	return spec
}

func volumeInTurn(e *Env) {
	vol := e.volume()
	e.succeed(e.with(vol, "put", "/v/file", "from one"))
	e.wantOutput(e.with(vol, "cat", "/v/file"), `"from one"`)
}

func volumeAtOnce(e *Env) {
	vol := e.volume()
	one := e.startSpec(e.with(vol, "put", "/v/one", "1", ";", "await", "/v/two", ";", "print", "both"))
	two := e.startSpec(e.with(vol, "await", "/v/one", ";", "put", "/v/two", "2", ";", "print", "both"))
	e.wantExit(e.wait(one), 0)
	e.wantExit(e.wait(two), 0)
}

func volumeUsers(e *Env) {
	vol := e.volume()
	as := func(user string, args ...string) driver.TaskSpec {
		spec := e.with(vol, args...)
		spec.Container.User = user
		return spec
	}
	e.succeed(as("0:0", "mkdir", "/v/shared", "0o777", ";", "mkdir", "/v/private", "0o700"))
	e.succeed(as("1000:1000", "put", "/v/shared/file", "from 1000", ";", "chmod", "/v/shared/file", "0o644",
		";", "refused", "put", "/v/private/x", "x"))
	out := e.succeed(as("2000:2000", "cat", "/v/shared/file", ";", "stat", "/v/shared/file", ";", "refused", "put", "/v/shared/file", "x"))
	lines := out.stdout()
	if lines[0] != `"from 1000"` || !strings.Contains(lines[1], "file 0644 1000:1000 9 ") {
		e.Errorf("another user sees\n%s", out)
	}
}

func volumePersists(e *Env) {
	vol := e.volume()
	id := e.startSpec(e.with(vol, "put", "/v/file", "kept"))
	e.wantExit(e.wait(id), 0)
	e.must("Remove", e.d.Remove(e.ctx, id))
	e.wantOutput(e.with(vol, "cat", "/v/file"), `"kept"`)
	d := e.open(e.owner)
	volumes, err := d.ListVolumes(e.ctx, driver.ListOptions{})
	e.must("ListVolumes", err)
	if len(volumes) != 1 || volumes[0].ID != vol {
		e.Errorf("another driver value lists %+v; want the volume %s", volumes, vol)
	}
}

func volumeEmpty(e *Env) {
	spec := driver.VolumeSpec{Name: e.name()}
	first, err := e.d.CreateVolume(e.ctx, spec)
	e.must("CreateVolume", err)
	e.copyIn(onVolume(first), "/", regular("file", "x"))
	e.must("RemoveVolume", e.d.RemoveVolume(e.ctx, first))
	second, err := e.d.CreateVolume(e.ctx, spec)
	e.must("CreateVolume", err)
	e.removeVolumeLater(second)
	e.absent(onVolume(second), "/file", errdefs.ErrNotFound)
}

func volumeIsolated(e *Env) {
	one, two := e.volume(), e.volume()
	e.copyIn(onVolume(one), "/", regular("file", "x"))
	e.absent(onVolume(two), "/file", errdefs.ErrNotFound)
}

func twoMounts(e *Env) {
	one, two := e.volume(), e.volume()
	spec := e.spec("put", "/a/file", "in one", ";", "put", "/deep/er/b/file", "in two")
	spec.Container.Mounts = []driver.Mount{{Volume: one, Path: "/a"}, {Volume: two, Path: "/deep/er/b"}}
	e.succeed(spec)
	for vol, want := range map[driver.VolumeID]string{one: "in one", two: "in two"} {
		if got := e.copyOut(onVolume(vol), "/file"); got[0].content != want {
			e.Errorf("volume %s has %q; want %q", vol, got[0].content, want)
		}
	}
}

func volumeRefused(e *Env, state driver.State) {
	vol := e.volume()
	id := e.create(e.with(vol, "put", "/v/file", "x", ";", "trap-term", "0"))
	if state != driver.StateCreated {
		e.must("Start", e.d.Start(e.ctx, id))
		e.await(e.logs(e.d, id, driver.LogOptions{Follow: true}), "ready")
	}
	if state == driver.StateEnded {
		e.must("Stop", e.d.Stop(e.ctx, id, driver.StopOptions{Grace: e.limit(30e9)}))
	}
	for _, d := range []driver.Driver{e.d, e.open(e.owner)} {
		err := d.RemoveVolume(e.ctx, vol)
		e.wantError(fmt.Sprintf("RemoveVolume while a task that is %s refers to it", state), err, errdefs.ErrFailedPrecondition)
	}
	e.must("Remove", e.d.Remove(e.ctx, id))
	e.must("RemoveVolume when the task is gone", e.d.RemoveVolume(e.ctx, vol))
	e.gone("RemoveVolume")
}

func removeMissingVolume(e *Env) {
	vol := e.volume()
	for range 2 {
		e.must("RemoveVolume", e.d.RemoveVolume(e.ctx, vol))
	}
	e.must("RemoveVolume of what never existed", e.d.RemoveVolume(e.ctx, "no-such-volume"))
}

func removeVolumeAtOnce(e *Env) {
	const callers = 4
	var drivers [callers]driver.Driver
	for i := range drivers {
		drivers[i] = e.open(e.owner)
	}
	for range 10 {
		vol := e.volume()
		begin := make(chan struct{})
		var errs [callers]error
		var wg sync.WaitGroup
		for i, d := range drivers {
			wg.Go(func() {
				<-begin
				errs[i] = d.RemoveVolume(e.ctx, vol)
			})
		}
		close(begin)
		wg.Wait()
		e.must("RemoveVolume by several", errors.Join(errs[:]...))
	}
}

func volumeNameInUse(e *Env) {
	spec := driver.VolumeSpec{Name: e.name()}
	first, err := e.d.CreateVolume(e.ctx, spec)
	e.must("CreateVolume", err)
	e.removeVolumeLater(first)
	again := func() (driver.VolumeID, error) {
		id, err := e.open(e.owner).CreateVolume(e.ctx, spec)
		if err == nil && id != first {
			e.removeVolumeLater(id)
		}
		return id, err
	}
	_, err = again()
	e.wantError("CreateVolume with a name in use", err, errdefs.ErrAlreadyExists)
	e.must("RemoveVolume", e.d.RemoveVolume(e.ctx, first))
	second, err := again()
	e.must("CreateVolume with a name that is free again", err)
	if second == first {
		e.Errorf("the new volume has the handle of the removed one, %q", first)
	}
}

func volumeBadSpec(e *Env) {
	for _, spec := range []driver.VolumeSpec{{}, {Name: "../x"}, {Name: "ok", Size: -1}, {Name: "ok", Labels: map[string]string{"": "x"}}} {
		id, err := e.d.CreateVolume(e.ctx, spec)
		if err == nil {
			e.removeVolumeLater(id)
		}
		e.wantError(fmt.Sprintf("CreateVolume %+v", spec), err, errdefs.ErrInvalidArgument)
	}
}

func listVolumes(e *Env) {
	names := []string{"b-" + e.name(), "a-" + e.name(), "c-" + e.name()}
	for i, name := range names {
		spec := driver.VolumeSpec{Name: name, Labels: map[string]string{"n": fmt.Sprint(i), "value": "größe = 100 %"}, Size: 1 << 20}
		id, err := e.d.CreateVolume(e.ctx, spec)
		e.must("CreateVolume", err)
		e.removeVolumeLater(id)
	}
	list := func(labels map[string]string) (got []string) {
		volumes, err := e.d.ListVolumes(e.ctx, driver.ListOptions{Labels: labels})
		e.must("ListVolumes", err)
		for _, v := range volumes {
			got = append(got, v.Name)
			if v.Labels["value"] != "größe = 100 %" || len(v.Labels) != 2 || v.Created.IsZero() {
				e.Errorf("a volume is listed as %+v; want its two labels and the time of its creation", v)
			}
		}
		return got
	}
	if got := list(nil); !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		e.Errorf("ListVolumes has %q; want the three by name", got)
	}
	if got := list(map[string]string{"n": "1", "value": "größe = 100 %"}); !slices.Equal(got, names[1:2]) {
		e.Errorf("ListVolumes by label has %q; want %q", got, names[1:2])
	}
	if got := list(map[string]string{"n": "11"}); got != nil {
		e.Errorf("ListVolumes by a label that none has: %q", got)
	}
}

func volumeOwners(e *Env) {
	spec := driver.VolumeSpec{Name: e.name()}
	mine, err := e.d.CreateVolume(e.ctx, spec)
	e.must("CreateVolume", err)
	e.removeVolumeLater(mine)
	stranger := e.open(e.newOwner())
	theirs, err := stranger.CreateVolume(e.ctx, spec)
	e.must("CreateVolume with the name that another owner's volume has", err)
	e.defers(func(ctx context.Context) {
		if err := stranger.RemoveVolume(ctx, theirs); err != nil {
			e.Errorf("RemoveVolume: %v", err)
		}
	})
	e.must("RemoveVolume by another owner", stranger.RemoveVolume(e.ctx, mine))
	volumes, err := e.d.ListVolumes(e.ctx, driver.ListOptions{})
	e.must("ListVolumes", err)
	if len(volumes) != 1 || volumes[0].ID != mine {
		e.Errorf("the owner lists %+v; want %s alone", volumes, mine)
	}
	_, err = stranger.CopyOut(e.ctx, driver.CopyOutOptions{Place: onVolume(mine), Path: "/"})
	e.wantError("CopyOut from another owner's volume", err, errdefs.ErrNotFound)
	id, err := stranger.Create(e.ctx, e.with(mine, "exit", "0"))
	if err == nil {
		stranger.Remove(e.ctx, id)
	}
	e.wantError("Create with another owner's volume", err, errdefs.ErrNotFound)
}

func volumeSubPath(e *Env) {
	vol := e.volume()
	spec := e.spec("put", "/v/file", "inside", ";", "cat", "/v/file")
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v", SubPath: "deep/er"}}
	if !e.caps.VolumeSubPath {
		e.refused("SubPath", spec)
		return
	}
	e.wantOutput(spec, `"inside"`)
	if got := e.copyOut(onVolume(vol), "/deep/er/file"); got[0].content != "inside" {
		e.Errorf("the volume has %+v", got)
	}
	e.copyIn(onVolume(vol), "/deep/er", regular("second", "there"))
	spec = e.spec("cat", "/v/second", "/v/file", ";", "refused", "stat", "/v/deep")
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v", SubPath: "deep/er"}}
	if lines := e.succeed(spec).stdout(); !slices.Equal(lines[:2], []string{`"there"`, `"inside"`}) {
		e.Errorf("a second task sees %q", lines)
	}
}

func volumeReadOnly(e *Env) {
	vol := e.volume()
	e.copyIn(onVolume(vol), "/", regular("there", "before"))
	spec := e.with(vol, "refused", "put", "/v/new", "x", ";", "refused", "put", "/v/there", "x", ";",
		"refused", "remove", "/v/there", ";", "refused", "mkdir", "/v/dir", "0o755", ";", "cat", "/v/there")
	spec.Container.Mounts[0].ReadOnly = true
	lines := e.succeed(spec).stdout()
	if lines[len(lines)-1] != `"before"` {
		e.Errorf("the task read %q", lines)
	}
	e.absent(onVolume(vol), "/new", errdefs.ErrNotFound)
	e.succeed(e.with(vol, "put", "/v/there", "writable here"))
}

func volumeUsage(e *Env) {
	vol := e.volume()
	used := func() int64 {
		volumes, err := e.d.ListVolumes(e.ctx, driver.ListOptions{})
		e.must("ListVolumes", err)
		if len(volumes) != 1 || volumes[0].ID != vol {
			e.Fatalf("ListVolumes has %+v; want the volume %s", volumes, vol)
		}
		return volumes[0].Used
	}
	before := used()
	const size = 4 << 20
	e.succeed(e.with(vol, "write", "/v/file", fmt.Sprint(size), "1"))
	after := used()
	switch {
	case !e.caps.VolumeUsage && (before != -1 || after != -1):
		e.Errorf("Used is %d and %d; want -1, for Capabilities do not claim VolumeUsage", before, after)
	case e.caps.VolumeUsage && (before < 0 || after < before+size || after > before+2*size):
		e.Errorf("Used is %d, and %d after %d bytes were written", before, after, size)
	}
}
