package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// loadContainerd loads the images into a namespace of containerd, but for those that it has, and unpacks them.
func loadContainerd(ctx context.Context, namespace string, recipes []recipe) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	c, err := client.New(cmp.Or(os.Getenv("CONTAINERD_ADDRESS"), defaults.DefaultAddress))
	if err != nil {
		return err
	}
	defer c.Close()
	for _, r := range recipes {
		if have, err := c.ImageService().Get(ctx, r.tags[0]); err == nil && have.Labels[keyLabel] == r.key() {
			continue
		}
		if err := importImage(ctx, c, r); err != nil {
			return fmt.Errorf("%s: %w", r.tags[0], err)
		}
	}
	return nil
}

func importImage(ctx context.Context, c *client.Client, r recipe) (err error) {
	begin := time.Now()
	file, err := r.cached()
	if err != nil {
		return err
	}
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	list, err := c.Import(ctx, archive, client.WithImageLabels(map[string]string{keyLabel: r.key()}))
	for _, i := range list {
		err = errors.Join(err, client.NewImage(c, i).Unpack(ctx, ""))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "images: loaded %s in %.1f s\n", r.tags[0], time.Since(begin).Seconds())
	return nil
}
