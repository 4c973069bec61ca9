package drivertest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func pulls() []Case {
	const (
		words   = " A registry's refusal is told within seconds, and what it said is in the words of the error."
		login   = "Credentials are for the registry. "
		always  = "PullAlways asks the registry each time."
		missing = "PullIfNotPresent fetches an image that the runtime does not have, and does not ask the registry for one that it has."
	)
	return group("images",
		Case{ID: "missing", Contract: "Create: NotFound for an image that does not exist." + words, Run: imageMissing},
		Case{ID: "denied", Contract: "Create: PermissionDenied or Unauthenticated from a registry." + words, Run: imageDenied},
		Case{ID: "malformed", Contract: "Create: InvalidArgument for an image name that is malformed.", Run: imageMalformed},
		Case{ID: "wrong-architecture", Contract: "Create: NotFound for an image that its registry does not have for the runtime's platform." + words, Run: imageWrongArch},
		Case{ID: "no-registry", Contract: "Create: Unavailable when the registry does not answer. A connection that is refused is told within seconds.", Run: registryGone},
		Case{ID: "if-not-present", Contract: missing, Run: pullIfNotPresent},
		Case{ID: "always", Contract: always, Run: pullAlways},
		Case{ID: "never", Contract: "PullNever uses what the runtime has; NotFound if it has not. The registry is not asked.", Run: pullNever},
		Case{ID: "credentials-right", Contract: login + "With the right ones the image is fetched.", Run: credentialsRight},
		Case{ID: "credentials-wrong", Contract: login + "Create: PermissionDenied or Unauthenticated from a registry. They never appear in errors.", Run: credentialsWrong},
		Case{ID: "credentials-none", Contract: login + "Without any, what a registry gives to nobody is PermissionDenied or Unauthenticated.", Run: credentialsNone},
		Case{ID: "ten-at-once", Contract: "Many tasks that want one missing image at once fetch it once.", Run: pullOnce},
		Case{ID: "by-digest", Contract: "Image is a reference, also by digest: what is fetched has that digest, whatever a tag says.", Run: pullByDigest},
		Case{ID: "progress", Contract: "Progress, if not nil, is called from one goroutine with what has arrived: Done is at most Total, and once Total is known it does not shrink.", Run: pullProgress},
		Case{ID: "platform", Contract: "Platform such as \"linux/arm64\" chooses the image. What Capabilities do not claim is refused with ErrUnsupported.", Run: pullPlatform},
	)
}

// from returns a task of an image with its own command.
func (e *Env) from(image string, policy driver.PullPolicy) driver.TaskSpec {
	return driver.TaskSpec{Name: e.name(), Container: driver.Container{Image: image, Pull: policy}}
}

// pullFails wants Create to fail soon with one of the classes, and with words that match the regular expression.
func (e *Env) pullFails(spec driver.TaskSpec, words string, classes ...error) {
	began := time.Now()
	id, err := e.d.Create(e.ctx, spec)
	if err == nil {
		e.removeLater(id)
	}
	if took := time.Since(began); took > e.limit(20*time.Second) {
		e.Errorf("Create took %s to fail", took)
	}
	ok := false
	for _, class := range classes {
		ok = ok || errors.Is(err, class)
	}
	if !ok {
		e.Errorf("Create: %v; want an error that matches one of %v", err, classes)
	} else if !regexp.MustCompile("(?i)" + words).MatchString(err.Error()) {
		e.Errorf("Create: %v; want the registry's words %q in it", err, words)
	}
	e.gone("a Create whose image could not be had")
}

func imageMissing(e *Env) {
	const words = "unknown|: not found" // the latter is all that there is in the answer to a HEAD, with which many runtimes content themselves
	d := e.depot()
	d.push("there/image:1", pushed{})
	e.pullFails(e.from(d.address+"/there/image:2", driver.PullIfNotPresent), words, errdefs.ErrNotFound)
	e.pullFails(e.from(d.address+"/nowhere/image:1", driver.PullAlways), words, errdefs.ErrNotFound)
}

func imageDenied(e *Env) {
	d := e.depot()
	e.pullFails(e.from(d.address+"/denied/image:1", driver.PullIfNotPresent), "denied", errdefs.ErrPermissionDenied, errdefs.ErrUnauthenticated)
}

func imageMalformed(e *Env) {
	for _, name := range []string{"UPPER//case:::tag", "image:", "image@sha256:0123", "/image", "https://registry.example/image"} {
		for _, policy := range []driver.PullPolicy{driver.PullIfNotPresent, driver.PullAlways, driver.PullNever} {
			id, err := e.d.Create(e.ctx, e.from(name, policy))
			if err == nil {
				e.removeLater(id)
			}
			e.wantError(fmt.Sprintf("Create with the image %q (%s)", name, policy), err, errdefs.ErrInvalidArgument)
		}
	}
}

func imageWrongArch(e *Env) {
	arch := "s390x"
	if e.caps.Arch == arch {
		arch = "amd64"
	}
	d := e.depot()
	ref := d.pushIndex("foreign/image:1", pushed{arch: arch})
	e.pullFails(e.from(ref, driver.PullIfNotPresent), e.caps.Arch, errdefs.ErrNotFound)
}

func registryGone(e *Env) {
	e.pullFails(e.from(e.closedPort()+"/no/registry:1", driver.PullIfNotPresent), "refused", errdefs.ErrUnavailable)
}

func (e *Env) prints(spec driver.TaskSpec, want string) {
	res, out := e.run(spec)
	if lines := out.stdout(); !res.Succeeded() || len(lines) != 1 || lines[0] != want {
		e.Errorf("the image printed %q (%v) with the policy %s; want %q", lines, res, spec.Container.Pull, want)
	}
}

func pullIfNotPresent(e *Env) {
	d := e.depot()
	ref, _ := d.push("some/image:1", pushed{cmd: []string{"print", "one"}})
	e.prints(e.from(ref, driver.PullIfNotPresent), "one")
	before := d.asked("", "")
	d.push("some/image:1", pushed{cmd: []string{"print", "two"}})
	e.prints(e.from(ref, driver.PullIfNotPresent), "one")
	if n := d.asked("", "") - before; n > 0 {
		e.Errorf("for an image that is there the registry was asked %d times", n)
	}
}

func pullAlways(e *Env) {
	d := e.depot()
	ref, _ := d.push("some/image:1", pushed{cmd: []string{"print", "one"}})
	e.prints(e.from(ref, driver.PullAlways), "one")
	d.push("some/image:1", pushed{cmd: []string{"print", "two"}})
	e.prints(e.from(ref, driver.PullAlways), "two")
	e.prints(e.from(ref, driver.PullNever), "two")
}

func pullNever(e *Env) {
	d := e.depot()
	ref, _ := d.push("some/image:1", pushed{cmd: []string{"print", "one"}})
	e.pullFails(e.from(ref, driver.PullNever), "image", errdefs.ErrNotFound)
	if n := d.asked("", ""); n > 0 {
		e.Errorf("with the policy never the registry was asked %d times", n)
	}
	e.prints(e.from(ref, driver.PullIfNotPresent), "one")
	e.prints(e.from(ref, driver.PullNever), "one")
}

// locked returns a registry that asks for credentials, and an image in it.
func (e *Env) locked() (*depot, string) {
	d := e.depot()
	d.username, d.password = "somebody", "pass-"+e.name()
	ref, _ := d.push("private/image:1", pushed{cmd: []string{"print", "private"}})
	return d, ref
}

func credentialsRight(e *Env) {
	d, ref := e.locked()
	spec := e.from(ref, driver.PullIfNotPresent)
	spec.Container.Credentials = &driver.Credentials{Username: d.username, Password: d.password}
	e.prints(spec, "private")
}

func credentialsWrong(e *Env) {
	d, ref := e.locked()
	wrong := "wrong-" + d.password
	spec := e.from(ref, driver.PullIfNotPresent)
	spec.Container.Credentials = &driver.Credentials{Username: d.username, Password: wrong}
	e.pullFails(spec, "", errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied)
	if _, err := e.d.Create(e.ctx, spec); err != nil && strings.Contains(err.Error(), wrong) {
		e.Errorf("the error has the password: %v", err)
	}
}

func credentialsNone(e *Env) {
	_, ref := e.locked()
	e.pullFails(e.from(ref, driver.PullIfNotPresent), "auth", errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied)
}

// pullOnce lets the registry hold the image back until every Create is on its way.
func pullOnce(e *Env) {
	const tasks = 10
	d := e.depot()
	d.hold = make(chan struct{})
	ref, digest := d.push("popular/image:1", pushed{cmd: []string{"print", "popular"}, size: 1 << 20})
	var calling, done sync.WaitGroup
	calling.Add(tasks)
	for range tasks {
		spec := e.from(ref, driver.PullIfNotPresent)
		done.Go(func() {
			calling.Done()
			if id, err := e.d.Create(e.ctx, spec); err != nil {
				e.Errorf("Create: %v", err)
			} else {
				e.removeLater(id)
			}
		})
	}
	calling.Wait()
	close(d.hold)
	done.Wait()
	manifests := d.asked("GET", "/manifests/")
	blobs := d.asked("GET", "/blobs/")
	if manifests > 2 || blobs > 2 { // by tag and by digest; the configuration and one layer
		e.Errorf("for %d tasks the registry gave %d manifests and %d blobs of the image %s; want it fetched once", tasks, manifests, blobs, digest)
	}
}

func pullByDigest(e *Env) {
	d := e.depot()
	ref, digest := d.push("some/image:1", pushed{cmd: []string{"print", "one"}})
	d.push("some/image:1", pushed{cmd: []string{"print", "two"}})
	none := strings.TrimSuffix(ref, ":1") + "@sha256:" + strings.Repeat("0", 64)
	e.pullFails(e.from(none, driver.PullIfNotPresent), "", errdefs.ErrNotFound)
	byDigest := strings.TrimSuffix(ref, ":1") + "@" + digest
	e.prints(e.from(byDigest, driver.PullIfNotPresent), "one")
	e.prints(e.from(byDigest, driver.PullNever), "one")
	e.prints(e.from(byDigest, driver.PullAlways), "one")
}

func pullProgress(e *Env) {
	const size = 16 << 20
	d := e.depot()
	ref, _ := d.push("large/image:1", pushed{size: size})
	var seen []driver.PullProgress
	err := driver.Pull(e.ctx, e.d, driver.PullSpec{Image: ref, Policy: driver.PullAlways, Progress: func(p driver.PullProgress) { seen = append(seen, p) }})
	if e.unclaimed(e.caps.Pull, "Pull", err) {
		return
	}
	e.must("Pull", err)
	var most int64
	for _, p := range seen {
		if p.Done < 0 || p.Done > p.Total || p.Total < most {
			e.Errorf("progress %+v after a total of %d bytes", p, most)
			return
		}
		most = p.Total
	}
	if most < size {
		e.Errorf("%d reports tell of %d bytes; the image has %d and more", len(seen), most, size)
	}
}

func pullPlatform(e *Env) {
	arch := "s390x"
	if e.caps.Arch == arch {
		arch = "amd64"
	}
	d := e.depot()
	spec := e.from(d.pushIndex("foreign/image:1", pushed{arch: arch}), driver.PullIfNotPresent)
	spec.Container.Platform = "linux/" + arch
	if !e.caps.Platforms {
		e.refused("Platform", spec)
		return
	}
	e.create(spec)
}
