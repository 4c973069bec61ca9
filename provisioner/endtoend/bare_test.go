package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	api "k8s.io/client-go/kubernetes"
)

// bare is a runtime by its own API and nothing else: the floor that the provisioner is measured against.
type bare interface {
	containers
	// worker makes what a worker consists of: a volume, what clones, and what builds; nothing runs.
	worker(ctx context.Context, name string) error
	// launch makes a worker too, and runs it: what clones to its end, and then what builds.
	launch(ctx context.Context, name string, clone, build []string) error
	removeWorker(ctx context.Context, name string) error
}

type containers interface {
	// volume makes one, and remove takes one away.
	volume(ctx context.Context, name string) error
	removeVolume(ctx context.Context, name string) error
	// create makes a container, or what comes next to it, that would run a command with a volume at /work. It does not run.
	create(ctx context.Context, name, image, volume string, command ...string) error
	// start runs it, and wait returns when it has ended, with an error if that is not exit code 0.
	start(ctx context.Context, name string) error
	wait(ctx context.Context, name string) error
	remove(ctx context.Context, name string) error
}

// pair makes a worker of two containers.
type pair struct{ containers }

func (p pair) worker(ctx context.Context, name string) error {
	return first(
		func() error { return p.volume(ctx, name) },
		func() error { return p.create(ctx, name+"-clone", image, name, "/usr/local/bin/wharf", "clone") },
		func() error { return p.create(ctx, name+"-worker", image, name, "/usr/local/bin/wharf", "worker") })
}

func (p pair) launch(ctx context.Context, name string, clone, build []string) error {
	return first(
		func() error { return p.volume(ctx, name) },
		func() error { return p.create(ctx, name+"-clone", image, name, clone...) },
		func() error { return p.start(ctx, name+"-clone") },
		func() error { return p.wait(ctx, name+"-clone") },
		func() error { return p.create(ctx, name+"-worker", image, name, build...) },
		func() error { return p.start(ctx, name+"-worker") })
}

func (p pair) removeWorker(ctx context.Context, name string) error {
	return first(
		func() error { return p.remove(ctx, name+"-clone") },
		func() error { return p.remove(ctx, name+"-worker") },
		func() error { return p.removeVolume(ctx, name) })
}

// first calls one after another, until one fails.
func first(calls ...func() error) error {
	for _, call := range calls {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}

// openBare returns the API of a runtime.
func openBare(t testing.TB, runtime string) bare {
	t.Helper()
	switch runtime {
	case "docker":
		c, err := client.New(client.FromEnv)
		if err == nil {
			_, err = c.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return pair{bareDocker{c}}
	case "podman":
		network, at := address(t, runtime)
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}
		return pair{barePodman{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 100}}}}
	case "containerd":
		return pair{newBareContainerd(t)}
	case "kubernetes":
		c, err := api.NewForConfig(cluster(t))
		if err != nil {
			t.Fatal(err)
		}
		return bareKubernetes{c}
	}
	t.Fatalf("$%s is %q: no test for that", runtimeEnv, runtime)
	return nil
}

type bareDocker struct{ *client.Client }

func (d bareDocker) volume(ctx context.Context, name string) error {
	_, err := d.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name})
	return err
}

func (d bareDocker) removeVolume(ctx context.Context, name string) error {
	_, err := d.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	return err
}

func (d bareDocker) create(ctx context.Context, name, image, volume string, command ...string) error {
	_, err := d.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: name, Config: &container.Config{Image: image, Entrypoint: command},
		HostConfig: &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: volume, Target: "/work"}}},
	})
	return err
}

func (d bareDocker) start(ctx context.Context, name string) error {
	_, err := d.ContainerStart(ctx, name, client.ContainerStartOptions{})
	return err
}

func (d bareDocker) wait(ctx context.Context, name string) error {
	w := d.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case res := <-w.Result:
		return exited(int(res.StatusCode))
	case err := <-w.Error:
		return err
	}
}

func (d bareDocker) remove(ctx context.Context, name string) error {
	_, err := d.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
	return err
}

func exited(code int) error {
	if code != 0 {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

type barePodman struct{ *http.Client }

// call makes a request of the native API.
func (p barePodman) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://podman/v4.0.0/libpod"+path, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := p.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	return err
}

func (p barePodman) volume(ctx context.Context, name string) error {
	return p.call(ctx, "POST", "/volumes/create", map[string]any{"Name": name}, nil)
}

func (p barePodman) removeVolume(ctx context.Context, name string) error {
	return p.call(ctx, "DELETE", "/volumes/"+name, nil, nil)
}

func (p barePodman) create(ctx context.Context, name, image, volume string, command ...string) error {
	return p.call(ctx, "POST", "/containers/create", map[string]any{
		"name": name, "image": image, "entrypoint": command, "volumes": []any{map[string]any{"Name": volume, "Dest": "/work"}},
	}, nil)
}

func (p barePodman) start(ctx context.Context, name string) error {
	return p.call(ctx, "POST", "/containers/"+name+"/start", nil, nil)
}

func (p barePodman) wait(ctx context.Context, name string) error {
	var code int
	if err := p.call(ctx, "POST", "/containers/"+name+"/wait", nil, &code); err != nil {
		return err
	}
	return exited(code)
}

func (p barePodman) remove(ctx context.Context, name string) error {
	return p.call(ctx, "DELETE", "/containers/"+name+"?force=true&timeout=0", nil, nil)
}
