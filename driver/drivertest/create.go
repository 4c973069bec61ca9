package drivertest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// creates are the cases of a Create that fails.
func creates(nothing string) []Case {
	return []Case{
		{ID: "create-bad-name", Contract: "Create: InvalidArgument for a spec that Validate refuses. " + nothing, Run: createBadName},
		{ID: "create-bad-image", Contract: "Create: InvalidArgument for an image name that is malformed. " + nothing, Run: createBadImage},
		{ID: "create-missing-image", Contract: "PullNever uses what the runtime has; NotFound if it has not. " + nothing, Run: createMissingImage},
		{ID: "create-missing-in-registry", Contract: "Create: NotFound for an image that does not exist. " + nothing, Run: createMissingInRegistry},
		{ID: "create-missing-volume", Contract: "Create: NotFound for a volume that does not exist. " + nothing, Run: createMissingVolume},
		{ID: "create-bad-field", Contract: "Create: ErrUnsupported for a field that this driver cannot honour; PermissionDenied for what the installation does not allow. " + nothing, Run: createBadField},
		{ID: "create-cancelled", Contract: "A call whose context ended returns an error that matches context.Cause of it. " + nothing, Run: createCancelled},
		{ID: "create-cancelled-in-pull", Contract: "A failed or cancelled Create leaves nothing behind; it returns an error that matches context.Cause.", Run: createCancelledInPull},
	}
}

// createFails wants Create to fail with an error of the class, to leave nothing behind, and
// the name to be free.
func (e *Env) createFails(spec driver.TaskSpec, classes ...error) {
	id, err := e.d.Create(e.ctx, spec)
	if err == nil {
		e.removeLater(id)
		e.Fatalf("Create returned no error; want one of %v", classes)
	}
	match := false
	for _, class := range classes {
		match = match || errors.Is(err, class)
	}
	if !match {
		e.Errorf("Create: %v; want an error that matches one of %v", err, classes)
	}
	if names := e.listed(nil); len(names) > 0 {
		e.Errorf("after a Create that failed, List has %q", names)
	}
	e.gone("a Create that failed")
	if driver.ValidName(spec.Name) == nil {
		e.create(driver.TaskSpec{Name: spec.Name, Container: e.container("exit", "0")})
	}
}

func createBadName(e *Env) {
	spec := e.spec("exit", "0")
	spec.Name = "Not a valid Name"
	e.createFails(spec, errdefs.ErrInvalidArgument)
}

func createBadImage(e *Env) {
	spec := e.spec("exit", "0")
	spec.Container.Image = "UPPER//case:::tag"
	e.createFails(spec, errdefs.ErrInvalidArgument)
}

func createMissingImage(e *Env) {
	spec := e.spec("exit", "0")
	spec.Container.Image = "localhost/wharf/no-such-image:1"
	e.createFails(spec, errdefs.ErrNotFound)
}

func createMissingVolume(e *Env) {
	vol, err := e.d.CreateVolume(e.ctx, driver.VolumeSpec{Name: e.name()})
	e.must("CreateVolume", err)
	e.must("RemoveVolume", e.d.RemoveVolume(e.ctx, vol))
	spec := e.spec("exit", "0")
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v"}}
	e.createFails(spec, errdefs.ErrNotFound)
}

func createBadField(e *Env) {
	spec := e.spec("exit", "0")
	switch c := e.caps; {
	case !c.Privileged:
		spec.Container.Security.Privileged = true
	case !c.Placement:
		spec.Placement.ServiceAccount = "default"
	case !c.Platforms:
		spec.Container.Platform = "linux/s390x"
	default: // nothing is refused, so something that is never right
		spec.Container.Resources.Memory = -1
	}
	e.createFails(spec, driver.ErrUnsupported, errdefs.ErrPermissionDenied, errdefs.ErrInvalidArgument)
}

func createCancelled(e *Env) {
	cause := errors.New("the case's own reason")
	ctx, cancel := context.WithCancelCause(e.ctx)
	cancel(cause)
	id, err := e.d.Create(ctx, e.spec("exit", "0"))
	if err == nil {
		e.removeLater(id)
	}
	e.wantError("Create with a context that has ended", err, cause)
	e.gone("a cancelled Create")
}

func createMissingInRegistry(e *Env) {
	reg := e.registry(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		}
	})
	spec := e.spec("exit", "0")
	spec.Container.Image, spec.Container.Pull = reg+"/no/such-image:1", driver.PullIfNotPresent
	e.createFails(spec, errdefs.ErrNotFound)
}

// createCancelledInPull cancels when the registry, which never answers, has been asked.
func createCancelledInPull(e *Env) {
	asked := make(chan struct{})
	var once sync.Once
	reg := e.registry(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(asked) })
		<-r.Context().Done()
	})
	spec := e.spec("exit", "0")
	spec.Container.Image, spec.Container.Pull = reg+"/slow/image:1", driver.PullIfNotPresent
	cause := errors.New("the case's own reason")
	ctx, cancel := context.WithCancelCause(e.ctx)
	failed := make(chan error, 1)
	go func() {
		id, err := e.d.Create(ctx, spec)
		if err == nil {
			e.removeLater(id)
		}
		failed <- err
	}()
	select {
	case <-asked:
	case err := <-failed:
		e.Fatalf("Create ended before the registry was asked: %v", err)
	case <-e.ctx.Done():
		e.Fatalf("the runtime did not ask the registry at %s: %v", reg, context.Cause(e.ctx))
	}
	cancel(cause)
	e.wantError("Create that was cancelled while it pulled", receive(e, "the cancelled Create", failed), cause)
	e.gone("a Create that was cancelled while it pulled")
}

// registry serves until the end of the case, and returns its address as the runtime sees it.
func (e *Env) registry(h http.HandlerFunc) string {
	host := e.suite.h.RegistryHost
	listen := "127.0.0.1:0"
	if host != "127.0.0.1" {
		listen = ":0"
	}
	l, err := net.Listen("tcp", listen)
	e.must("listen for the runtime's pull", err)
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	e.defers(func(context.Context) {
		server.Close()
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port)
}
