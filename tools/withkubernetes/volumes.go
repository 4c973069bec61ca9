//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	provisioner   = "wharfci.dev/directories"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// volumes makes a directory of the machine for each claim, and removes it when the claim has gone.
type volumes struct {
	client kubernetes.Interface
	dir    string
}

// class makes the default storage class.
func (v volumes) class(ctx context.Context) error {
	keep, at := core.PersistentVolumeReclaimDelete, storage.VolumeBindingImmediate
	_, err := v.client.StorageV1().StorageClasses().Create(ctx, &storage.StorageClass{
		ObjectMeta:  meta.ObjectMeta{Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: provisioner, ReclaimPolicy: &keep, VolumeBindingMode: &at,
	}, meta.CreateOptions{})
	return err
}

// serve serves claims until ctx ends.
func (v volumes) serve(ctx context.Context) {
	factory := informers.NewSharedInformerFactory(v.client, 0)
	var calls sync.WaitGroup
	run := func(f func() error) {
		calls.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "withkubernetes:", err)
			}
		})
	}
	claims := cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		if claim := o.(*core.PersistentVolumeClaim); claim.Status.Phase != core.ClaimBound && claim.Spec.VolumeName == "" {
			run(func() error { return v.make(ctx, claim) })
		}
	}}
	made := cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, o any) {
		if pv := o.(*core.PersistentVolume); pv.Status.Phase == core.VolumeReleased && pv.Annotations[provisionedBy] == provisioner {
			run(func() error { return v.remove(ctx, pv) })
		}
	}}
	if _, err := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(claims); err != nil {
		panic(err)
	}
	if _, err := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(made); err != nil {
		panic(err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	calls.Wait()
}

// make makes the directory, and says that it is the claim's.
func (v volumes) make(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if class := claim.Spec.StorageClassName; class == nil || *class != "standard" {
		return nil
	}
	name := "pv-" + string(claim.UID)
	dir := filepath.Join(v.dir, name)
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		return err
	}
	_, err := v.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisioner}},
		Spec: core.PersistentVolumeSpec{
			Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes, StorageClassName: "standard",
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			ClaimRef:                      &core.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: dir}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: core.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}, meta.CreateOptions{})
	return err
}

func (v volumes) remove(ctx context.Context, pv *core.PersistentVolume) error {
	if err := os.RemoveAll(pv.Spec.HostPath.Path); err != nil {
		return err
	}
	if err := v.client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, meta.DeleteOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	return nil // a volume that is let go of is told more than once
}
