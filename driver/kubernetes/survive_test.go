package kubernetes_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/kubernetes/kubernetestest"
)

// site is the cluster, as an administrator reaches it, and a driver with its own rights.
type site struct {
	t *testing.T
	*kubernetestest.Cluster
	admin api.Interface
	d     driver.Driver
}

// namespace is that of the kubeconfig's context.
const namespace = "default"

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, admin: administrator(t), Cluster: cluster(t, kubernetes.Config{})}
	loadImages(t, s.Cluster)
	s.d = s.open(0)
	return s
}

// administrator returns a client with every right.
func administrator(t *testing.T) api.Interface {
	t.Helper()
	rc, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	rc.QPS = -1
	client, err := api.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// open returns a driver that is closed with the test, and whose tasks are removed before.
func (s *site) open(patience time.Duration) driver.Driver {
	s.t.Helper()
	cfg := s.Config
	cfg.Owner, cfg.Patience = "survive", patience
	d, err := kubernetes.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		list, err := d.List(context.Background(), driver.ListOptions{})
		for _, task := range list {
			err = errors.Join(err, d.Remove(context.Background(), task.ID))
		}
		if err := errors.Join(err, d.Close()); err != nil {
			s.t.Error(err)
		}
	})
	return d
}

// control has the cluster stop, kill or start one of its programs.
func (s *site) control(words string) {
	s.t.Helper()
	conn, err := net.Dial("unix", os.Getenv("WHARF_KUBERNETES_CONTROL"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, words); err != nil {
		s.t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "ok\n" {
		s.t.Fatalf("%s: %q, %v", words, answer, err)
	}
}

func podOf(id driver.TaskID) string {
	name, _, _ := strings.Cut(string(id), ".")
	return name
}

// program is a task of the suite's program.
func program(name string, args ...string) driver.TaskSpec {
	return driver.TaskSpec{Name: name, Container: driver.Container{Image: drivertest.Image, Entrypoint: []string{"/testprog"}, Args: args, Pull: driver.PullNever}}
}

// A program of the cluster is ended and started again while a task runs: the task goes on, and nothing that it prints is lost. The tests' etcd does
// not wait for the disk, and is the only one: killed, it would lose what no real one loses.
func TestClusterIsRestarted(t *testing.T) {
	for name, end := range map[string]string{"kube-apiserver": "kill ", "kubelet": "kill ", "etcd": "stop "} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := survive.Start(t, s.d, program("unit", survive.Waits...))
			s.control(end + name)
			started := false
			defer func() {
				if !started {
					s.control("start " + name)
				}
			}()
			if name == "kube-apiserver" {
				if _, err := s.open(time.Millisecond).List(t.Context(), driver.ListOptions{}); !errors.Is(err, errdefs.ErrUnavailable) {
					t.Errorf("List without an API server: %v; want Unavailable", err)
				}
			}
			if name == "kubelet" {
				list, err := s.d.List(t.Context(), driver.ListOptions{})
				if err != nil || len(list) != 1 || list[0].State != driver.StateUnknown || !strings.Contains(list[0].Reason, "does not answer") {
					t.Errorf("List while the node does not answer: %+v, %v; want the task, its state unknown, and why", list, err)
				}
			}
			s.control("start " + name)
			started = true
			r.GoOn()
			r.WantLine("done")
			r.WantResult(driver.Exited, "code 3")
		})
	}
}

// The task ends, and prints, while there is no API server.
func TestTaskEndsWithoutAPIServer(t *testing.T) {
	s := newSite(t)
	r := survive.Start(t, s.d, program("unit", "print", "ready", ";", "linger", "1", ";", "print", "done", ";", "exit", "3"))
	s.control("kill kube-apiserver")
	s.control("start kube-apiserver")
	r.WantLine("done")
	r.WantResult(driver.Exited, "code 3")
	again, err := s.open(0).Wait(t.Context(), r.ID)
	if err != nil || again.Outcome != driver.Exited || again.Code != 3 {
		t.Errorf("another process is told %v, %v; want code 3", again, err)
	}
}

// As "kubectl drain" does it.
func TestPodIsEvicted(t *testing.T) {
	s := newSite(t)
	r := survive.Start(t, s.d, program("unit", survive.Waits...))
	pod := meta.ObjectMeta{Name: podOf(r.ID), Namespace: namespace}
	if err := s.admin.PolicyV1().Evictions(namespace).Evict(t.Context(), &policy.Eviction{ObjectMeta: pod}); err != nil {
		t.Fatal(err)
	}
	r.WantResult(driver.Evicted, "Eviction")
}

// The task writes more than the namespace lets a container have of the node's disk: the kubelet evicts it.
func TestDiskIsFull(t *testing.T) {
	s := newSite(t)
	limits := s.admin.CoreV1().LimitRanges(namespace)
	_, err := limits.Create(t.Context(), &core.LimitRange{
		ObjectMeta: meta.ObjectMeta{Name: "disk"},
		Spec: core.LimitRangeSpec{Limits: []core.LimitRangeItem{{
			Type: core.LimitTypeContainer, Default: core.ResourceList{core.ResourceEphemeralStorage: resource.MustParse("20Mi")},
		}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := limits.Delete(context.Background(), "disk", meta.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	for limited := false; !limited; { // the API server notices the limit a moment later
		p, err := s.admin.CoreV1().Pods(namespace).Create(t.Context(), &core.Pod{
			ObjectMeta: meta.ObjectMeta{Name: "tried"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "main", Image: "none"}}},
		}, meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		limited = len(p.Spec.Containers[0].Resources.Limits) > 0
	}
	r := survive.Start(t, s.d, program("unit", append([]string{"write", "/big", "100000000", "1", ";"}, survive.Waits...)...))
	r.WantResult(driver.Evicted, "ephemeral")
}

// The kubelet ends the pod for a reason of its own, which says nothing about the task.
func TestPodIsEndedByKubelet(t *testing.T) {
	s := newSite(t)
	r := survive.Start(t, s.d, program("unit", survive.Waits...))
	patch := []byte(`{"spec":{"activeDeadlineSeconds":1}}`)
	if _, err := s.admin.CoreV1().Pods(namespace).Patch(t.Context(), podOf(r.ID), types.StrategicMergePatchType, patch, meta.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.WantResult(driver.Unknown, "DeadlineExceeded")
}

func TestKeeperIsKilled(t *testing.T) {
	s := newSite(t)
	r := survive.Start(t, s.d, program("unit", survive.Waits...))
	s.kill(podOf(r.ID), "keeper")
	r.WantResult(driver.Lost, "keeper")
	list, err := s.d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateEnded {
		t.Errorf("List: %+v, %v; want the task, ended", list, err)
	}
}

// kill kills the first process of a container, behind the kubelet's back.
func (s *site) kill(pod, container string) {
	s.t.Helper()
	p, err := s.admin.CoreV1().Pods(namespace).Get(s.t.Context(), pod, meta.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	node, err := client.New(os.Getenv("CONTAINERD_ADDRESS"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer node.Close()
	for _, c := range p.Status.ContainerStatuses {
		if c.Name != container {
			continue
		}
		_, id, _ := strings.Cut(c.ContainerID, "://")
		ctx := namespaces.WithNamespace(s.t.Context(), "k8s.io")
		if _, err := node.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL)}); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	s.t.Fatalf("the pod %s has no container %s", pod, container)
}

func TestImageIsRemoved(t *testing.T) {
	s := newSite(t)
	id, err := s.d.Create(t.Context(), program("made-before", "exit", "3"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Harness.RemoveImage(t.Context(), drivertest.Image); err != nil {
		t.Fatal(err)
	}
	defer loadImages(t, s.Cluster)
	if err := s.d.Start(t.Context(), id); err != nil {
		t.Errorf("Start of a task whose image was removed: %v", err)
	}
	if res, err := s.d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("Wait: %v, %v", res, err)
	}
	if _, err := s.d.Create(t.Context(), program("made-after", "exit", "3")); !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), drivertest.Image) {
		t.Errorf("Create with an image that was removed: %v; want NotFound, and its name", err)
	}
}

// Where no node takes the pod, Create waits; who gives up is told what the scheduler says.
func TestNoNodeTakesPods(t *testing.T) {
	s := newSite(t)
	s.cordon(true)
	defer s.cordon(false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	created := make(chan error, 1)
	go func() {
		_, err := s.d.Create(ctx, program("unit", "exit", "0"))
		created <- err
	}()
	s.untilUnschedulable()
	cancel()
	if err := <-created; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "unschedulable") {
		t.Errorf("Create: %v; want that it was cancelled, and the scheduler's words", err)
	}
	if list, err := s.d.List(t.Context(), driver.ListOptions{}); err != nil || len(list) > 0 {
		t.Errorf("List: %+v, %v; want nothing", list, err)
	}
}

// cordon keeps new pods from the nodes, or lets them on again.
func (s *site) cordon(on bool) {
	s.t.Helper()
	nodes, err := s.admin.CoreV1().Nodes().List(context.Background(), meta.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range nodes.Items {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
		if _, err := s.admin.CoreV1().Nodes().Patch(context.Background(), n.Name, types.StrategicMergePatchType, patch, meta.PatchOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// untilUnschedulable returns when the scheduler has said of a pod that no node takes it.
func (s *site) untilUnschedulable() {
	s.t.Helper()
	changes, err := s.admin.CoreV1().Pods(namespace).Watch(s.t.Context(), meta.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		if p, ok := change.Object.(*core.Pod); ok {
			for _, c := range p.Status.Conditions {
				if c.Reason == core.PodReasonUnschedulable {
					return
				}
			}
		}
	}
	s.t.Fatal("the watch ended")
}
