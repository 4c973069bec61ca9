package kubernetes_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/kubernetes/kubernetestest"
)

// TestRestrictedNamespace takes a task that asks for nothing special through its life where the Pod Security Standard "restricted" is enforced.
func TestRestrictedNamespace(t *testing.T) {
	const namespace = "restricted"
	api := administrator(t)
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	if _, err := api.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace, Labels: labels}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer api.CoreV1().Namespaces().Delete(t.Context(), namespace, meta.DeleteOptions{})
	c := cluster(t, kubernetes.Config{Namespace: namespace})
	loadImages(t, c)
	d, err := c.Harness.Open(t.Context(), "restricted")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()

	volume, err := d.CreateVolume(t.Context(), driver.VolumeSpec{Name: "work"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.RemoveVolume(t.Context(), volume)
	task := driver.TaskSpec{Name: "unit", Container: driver.Container{
		Image: drivertest.Image, Entrypoint: []string{"/testprog"}, Args: []string{"print", "hello", ";", "exit", "3"},
		User: "1000:1000", Security: driver.Security{NonRoot: true, DropAll: true},
		Mounts: []driver.Mount{{Volume: volume, Path: "/work"}},
	}}
	root := task
	root.Name, root.Container.User, root.Container.Security = "root", "", driver.Security{}
	if _, err := d.Create(t.Context(), root); !errors.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a task of root: %v; want PermissionDenied, with what the cluster says", err)
	}

	id, err := d.Create(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove(t.Context(), id)
	place := driver.Place{Task: id}
	if err := d.CopyIn(t.Context(), driver.CopyInOptions{Place: place, Path: "/work", Tar: archive(t, "note", "kept")}); err != nil {
		t.Fatal(err)
	}
	log, err := d.Logs(t.Context(), id, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if e, err := log.Next(); err != nil || string(e.Line) != "hello" {
		t.Errorf("the log has %q, %v", e.Line, err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("Wait: %v, %v; want code 3", res, err)
	}
	out, err := d.CopyOut(t.Context(), driver.CopyOutOptions{Place: place, Path: "/work/note"})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	files := tar.NewReader(out)
	if _, err := files.Next(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(files); err != nil || string(text) != "kept" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// loadImages puts the suite's images on the node.
func loadImages(t *testing.T, c *kubernetestest.Cluster) {
	t.Helper()
	images, err := drivertest.BuildImages(t.Context(), drivertest.ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	if err := c.Harness.Load(t.Context(), images); err != nil {
		t.Fatal(err)
	}
}

// archive is a tar of one file of the user 1000: without root nobody can give files away.
func archive(t *testing.T, name, content string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Uid: 1000, Gid: 1000, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}
