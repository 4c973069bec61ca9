package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	api "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/survive"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// The floor is what a program does that has client-go and nothing else: for each step a pod of one container, whose phase it learns
// from a watch, and whose log it reads from the kubelet. The image is that of tools/images.
const benchImage = "localhost/wharf/busybox:1"

func benchClient(b *testing.B) api.Interface {
	b.Helper()
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	rc, err := load.ClientConfig()
	if err != nil {
		b.Fatal(err)
	}
	rc.QPS = -1
	client, err := api.NewForConfig(rc)
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// barePod runs a script in a pod, and returns how many bytes it printed; it follows the log if it should, and else reads it at the end.
func barePod(ctx context.Context, client api.Interface, script string, follow bool) (n int64, err error) {
	pods := client.CoreV1().Pods(namespace)
	pod, err := pods.Create(ctx, &core.Pod{
		ObjectMeta: meta.ObjectMeta{GenerateName: "bare-"},
		Spec: core.PodSpec{
			RestartPolicy: core.RestartPolicyNever,
			Containers:    []core.Container{{Name: "main", Image: benchImage, Command: []string{"sh", "-c", script}}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, pods.Delete(context.WithoutCancel(ctx), pod.Name, *meta.NewDeleteOptions(0)))
	}()
	changes, err := pods.Watch(ctx, meta.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", pod.Name).String(), ResourceVersion: pod.ResourceVersion,
	})
	if err != nil {
		return 0, err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		p, ok := change.Object.(*core.Pod)
		switch {
		case !ok:
		case p.Status.Phase == core.PodFailed:
			return 0, fmt.Errorf("the pod failed: %s", p.Status.Message)
		case p.Status.Phase == core.PodSucceeded || follow && p.Status.Phase == core.PodRunning:
			r, err := pods.GetLogs(pod.Name, &core.PodLogOptions{Follow: follow}).Stream(ctx)
			if err != nil {
				return 0, err
			}
			defer r.Close()
			return io.Copy(io.Discard, r)
		}
	}
	return 0, errors.New("the watch ended")
}

func benchDriver(b *testing.B) driver.Driver {
	b.Helper()
	d, err := kubernetes.New(kubernetes.Config{Owner: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return d
}

// made is a task that was made, or why not.
type made struct {
	id  driver.TaskID
	err error
}

// makeAhead makes a task while another one runs.
func makeAhead(ctx context.Context, d driver.Driver, name, script string) <-chan made {
	c := make(chan made, 1)
	go func() {
		id, err := d.Create(ctx, driver.TaskSpec{Name: name, Container: driver.Container{Image: benchImage, Entrypoint: []string{"sh", "-c", script}}})
		c <- made{id, err}
	}()
	return c
}

// BenchmarkSteps runs 20 pods in turn that print a line: bare ones, and tasks of the driver, of which each is made while the one before runs, as the
// engine does it for the next stage.
func BenchmarkSteps(b *testing.B) {
	const steps, script = 20, "echo done"
	client, d := benchClient(b), benchDriver(b)
	ctx := b.Context()
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			for range steps {
				if n, err := barePod(ctx, client, script, false); err != nil || n != 5 {
					b.Fatal(n, err)
				}
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			next := makeAhead(ctx, d, "step-0", script)
			removed := make(chan error, steps)
			for i := range steps {
				m := <-next
				if m.err != nil {
					b.Fatal(m.err)
				}
				if i+1 < steps {
					next = makeAhead(ctx, d, fmt.Sprint("step-", i+1), script)
				}
				if n, err := survive.Run(ctx, d, m.id); err != nil || n != 1 {
					b.Fatal(n, err)
				}
				go func() { removed <- d.Remove(ctx, m.id) }()
			}
			for range steps {
				if err := <-removed; err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// flood prints a million lines of 100 bytes.
const flood = "awk 'BEGIN{s=\"\"; for(i=0;i<92;i++) s=s \"x\"; for(i=0;i<1000000;i++) printf \"%07d%s\\n\", i, s}'"

// BenchmarkFlood reads a million lines live. Of the bare pod's, the kubelet has fewer when its log was rotated; of the task's none is missing.
func BenchmarkFlood(b *testing.B) {
	client, d := benchClient(b), benchDriver(b)
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			n, err := barePod(b.Context(), client, flood, true)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n)/1e6, "MB-read")
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			m := <-makeAhead(b.Context(), d, "flood", flood)
			if m.err != nil {
				b.Fatal(m.err)
			}
			if n, err := survive.Run(b.Context(), d, m.id); err != nil || n != 1_000_000 {
				b.Fatal(n, err)
			}
			if err := d.Remove(b.Context(), m.id); err != nil {
				b.Fatal(err)
			}
		}
	})
}
