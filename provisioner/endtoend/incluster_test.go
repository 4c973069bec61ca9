package endtoend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	api "k8s.io/client-go/kubernetes"

	"github.com/wharfci/wharf/driver/kubernetes"
)

// inCluster goes on with what only a cluster does to a worker.
func (m *missing) inCluster() {
	t := m.t
	ctx := t.Context()
	admin, err := api.NewForConfig(cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	q := &missing{m.provisioner("--image=localhost/wharf/none:1", "--rate=-1"), m.api}
	q.triggered(7)
	q.failed(7, "no such image", time.Now(), "localhost/wharf/none:1")
	q.stop()
	m.gone()

	n := m.namespace(admin)
	n.aggregator("three", n.url, m.api, "--unstarted=2s")

	_, task := n.begun(8)
	since := time.Now()
	pod := n.pod(admin, string(task))
	if err := admin.CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policy.Eviction{ObjectMeta: meta.ObjectMeta{Name: pod.Name}}); err != nil {
		t.Fatal(err)
	}
	n.failed(8, "evicted by the API", since, "it has begun", "EvictionByEvictionAPI")

	n.limits(admin, "100Mi")
	n.begun(9)
	fillContainers(t, 150<<20)
	n.failed(9, "evicted by the node", time.Now(), "it has begun", "ephemeral")

	n.limits(admin, "1000Ti")
	n.triggered(10)
	n.failed(10, "never scheduled", time.Now(), "Insufficient ephemeral-storage")

	if sample(0, 1) == 1 { // the cluster takes more than a minute to believe it
		n.goneNode(admin)
	}
	_ = admin.CoreV1().LimitRanges(n.space()).Delete(ctx, limitName, meta.DeleteOptions{}) // what is left of a worker is looked at by a pod
	n.gone()
}

// namespace begins a provisioner in a namespace of its own.
func (m *missing) namespace(admin api.Interface) *missing {
	t, ctx := m.t, context.Background()
	t.Helper()
	made, err := admin.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{GenerateName: "wharf-missing-"}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := made.Name
	t.Cleanup(func() { _ = admin.CoreV1().Namespaces().Delete(ctx, name, meta.DeleteOptions{}) })
	s := *m.system
	s.url = strings.Replace(s.url, "kubernetes://", "kubernetes:///"+name, 1)
	grantAccount(t, name)
	d, err := kubernetes.New(kubernetes.Config{Owner: owner + "-workers", Namespace: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s.workers = d
	return &missing{s.provisioner("--rate=-1"), m.api}
}

// pod is that of a task.
func (m *missing) pod(admin api.Interface, task string) *core.Pod {
	m.t.Helper()
	pods, err := admin.CoreV1().Pods(m.space()).List(m.t.Context(), meta.ListOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	for i := range pods.Items {
		if strings.Contains(task, pods.Items[i].Name) {
			return &pods.Items[i]
		}
	}
	m.t.Fatalf("there is no pod of %s", task)
	return nil
}

// space is the namespace of the provisioner.
func (m *missing) space() string {
	_, rest, _ := strings.Cut(m.url, ":///")
	name, _, _ := strings.Cut(rest, "?")
	return name
}

// limitName names the limits of a namespace.
const limitName = "wharf"

// limits has every container that is made from now on in the namespace request so much of its node's disk, which is its limit too.
func (m *missing) limits(admin api.Interface, disk string) {
	m.t.Helper()
	all := admin.CoreV1().LimitRanges(m.space())
	_ = all.Delete(m.t.Context(), limitName, meta.DeleteOptions{})
	list := core.ResourceList{core.ResourceEphemeralStorage: resource.MustParse(disk)}
	_, err := all.Create(m.t.Context(), &core.LimitRange{ObjectMeta: meta.ObjectMeta{Name: limitName}, Spec: core.LimitRangeSpec{
		Limits: []core.LimitRangeItem{{Type: core.LimitTypeContainer, Default: list, DefaultRequest: list}},
	}}, meta.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
}

// fillContainers writes so many bytes to the disks of workers.
func fillContainers(t testing.TB, size int) {
	t.Helper()
	_, children := workerProcesses()
	for _, pid := range children {
		err := os.WriteFile(filepath.Join("/proc", fmt.Sprint(pid), "root/tmp/filled"), make([]byte, size), 0o600)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) { // those of another build may be ending
			t.Fatal(err)
		}
	}
}

// goneNode has a worker run on a node that there is not, as far as the cluster knows of one, and removes that.
func (m *missing) goneNode(admin api.Interface) {
	t, ctx := m.t, m.t.Context()
	t.Helper()
	const name, build = "wharf-gone", 11
	nodes, pods := admin.CoreV1().Nodes(), admin.CoreV1().Pods(m.space())
	_, err := nodes.Create(ctx, &core.Node{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: core.NodeSpec{Taints: []core.Taint{{Key: "wharf.test/gone", Effect: core.TaintEffectNoSchedule}}}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(context.Background(), name, meta.DeleteOptions{}) })
	w := m.triggered(build)
	pod := m.pod(admin, string(m.task(w.ID)))
	changes, err := pods.Watch(ctx, meta.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", pod.Name).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	until := func(what string, is func(watch.EventType, *core.Pod) bool) {
		t.Helper()
		for ev := range changes.ResultChan() {
			if pod, ok := ev.Object.(*core.Pod); ok && is(ev.Type, pod) {
				return
			}
		}
		t.Fatalf("the watch of the pod has ended before it is %s", what)
	}
	until("started", func(_ watch.EventType, p *core.Pod) bool { return len(p.Spec.SchedulingGates) == 0 })
	if err := pods.Bind(ctx, &core.Binding{ObjectMeta: meta.ObjectMeta{Name: pod.Name}, Target: core.ObjectReference{Kind: "Node", Name: name}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	running := `{"status":{"phase":"Running","startTime":"2026-01-01T00:00:00Z"}}`
	if _, err := pods.Patch(ctx, pod.Name, types.MergePatchType, []byte(running), meta.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(ctx, name, meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until("deleted", func(what watch.EventType, _ *core.Pod) bool { return what == watch.Deleted })
	m.failed(build, "its node is gone", time.Now(), "removed")
}
