//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// ready returns when pods can be made and are given to the node.
func ready(ctx context.Context, client kubernetes.Interface) error {
	if err := until(ctx, client, "nodes", "", node, &core.Node{}, func(n *core.Node) bool {
		for _, t := range n.Spec.Taints {
			if t.Key == "node.kubernetes.io/not-ready" {
				return false
			}
		}
		for _, c := range n.Status.Conditions {
			if c.Type == core.NodeReady {
				return c.Status == core.ConditionTrue
			}
		}
		return false
	}); err != nil {
		return fmt.Errorf("wait for the node to be ready: %w", err)
	}
	// A namespace refuses pods until it has this one.
	err := until(ctx, client, "serviceaccounts", "default", "default", &core.ServiceAccount{}, func(*core.ServiceAccount) bool { return true })
	if err != nil {
		return fmt.Errorf("wait for the default service account: %w", err)
	}
	return nil
}

// until watches an object until it is as wanted.
func until[T runtime.Object](ctx context.Context, client kubernetes.Interface, resource, namespace, name string, of T, done func(T) bool) error {
	list := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), resource, namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, list, of, nil, func(e watch.Event) (bool, error) {
		o, ok := e.Object.(T)
		if !ok {
			return false, errors.New("a watch told of something else")
		}
		return e.Type != watch.Deleted && done(o), nil
	})
	return err
}
