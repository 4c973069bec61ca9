package endtoend

import (
	"context"
	"errors"
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	api "k8s.io/client-go/kubernetes"
)

type bareKubernetes struct{ api.Interface }

const space = "default"

func (k bareKubernetes) volume(ctx context.Context, name string) error {
	_, err := k.CoreV1().PersistentVolumeClaims(space).Create(ctx, &core.PersistentVolumeClaim{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PersistentVolumeClaimSpec{AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources: core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}}},
	}, meta.CreateOptions{})
	return err
}

func (k bareKubernetes) removeVolume(ctx context.Context, name string) error {
	return k.CoreV1().PersistentVolumeClaims(space).Delete(ctx, name, meta.DeleteOptions{})
}

// gate keeps a pod from being scheduled.
const gate = "endtoend.example/wait"

func (k bareKubernetes) create(ctx context.Context, name, image, volume string, command ...string) error {
	return k.pod(ctx, name, image, volume, nil, command)
}

func (k bareKubernetes) worker(ctx context.Context, name string) error {
	if err := k.volume(ctx, name); err != nil {
		return err
	}
	return k.pod(ctx, name, image, name, []string{"/usr/local/bin/wharf", "clone"}, []string{"/usr/local/bin/wharf", "worker"})
}

func (k bareKubernetes) launch(ctx context.Context, name string, clone, build []string) error {
	return first(
		func() error { return k.volume(ctx, name) },
		func() error { return k.pod(ctx, name, image, name, clone, build) },
		func() error { return k.start(ctx, name) },
		func() error { return k.until(ctx, name, core.PodRunning) })
}

func (k bareKubernetes) removeWorker(ctx context.Context, name string) error {
	return first(func() error { return k.remove(ctx, name) }, func() error { return k.removeVolume(ctx, name) })
}

// pod makes a pod that a gate holds back, with a container that runs before, if there is a command for it.
func (k bareKubernetes) pod(ctx context.Context, name, image, volume string, before, command []string) error {
	container := func(name string, command []string) core.Container {
		return core.Container{Name: name, Image: image, ImagePullPolicy: core.PullNever, Command: command, VolumeMounts: []core.VolumeMount{{Name: "work", MountPath: "/work"}}}
	}
	spec := core.PodSpec{
		RestartPolicy: core.RestartPolicyNever, SchedulingGates: []core.PodSchedulingGate{{Name: gate}}, Containers: []core.Container{container("main", command)},
		Volumes: []core.Volume{{Name: "work", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: volume}}}},
	}
	if before != nil {
		spec.InitContainers = []core.Container{container("before", before)}
	}
	_, err := k.CoreV1().Pods(space).Create(ctx, &core.Pod{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: spec}, meta.CreateOptions{})
	return err
}

func (k bareKubernetes) start(ctx context.Context, name string) error {
	_, err := k.CoreV1().Pods(space).Patch(ctx, name, "application/merge-patch+json", []byte(`{"spec":{"schedulingGates":null}}`), meta.PatchOptions{})
	return err
}

func (k bareKubernetes) wait(ctx context.Context, name string) error {
	return k.until(ctx, name, core.PodSucceeded)
}

// until waits for a pod to come to a phase.
func (k bareKubernetes) until(ctx context.Context, name string, phase core.PodPhase) error {
	changes, err := k.CoreV1().Pods(space).Watch(ctx, meta.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		switch pod, _ := change.Object.(*core.Pod); {
		case pod == nil:
		case pod.Status.Phase == phase:
			return nil
		case pod.Status.Phase == core.PodFailed:
			return fmt.Errorf("the pod has failed: %+v", pod.Status)
		}
	}
	return errors.New("the watch ended")
}

func (k bareKubernetes) remove(ctx context.Context, name string) error {
	return k.CoreV1().Pods(space).Delete(ctx, name, *meta.NewDeleteOptions(0))
}

// settle waits until the volumes are gone whose claims were removed: the cluster goes on with that for a while, and nothing else should be measured beside.
func (k bareKubernetes) settle(ctx context.Context) error {
	changes, err := k.CoreV1().PersistentVolumes().Watch(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	defer changes.Stop()
	for {
		left, err := k.CoreV1().PersistentVolumes().List(ctx, meta.ListOptions{})
		if err != nil || len(left.Items) == 0 {
			return err
		}
		if _, ok := <-changes.ResultChan(); !ok {
			return errors.New("the watch ended")
		}
	}
}
