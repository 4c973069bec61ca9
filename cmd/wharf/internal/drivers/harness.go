package drivers

import (
	"context"
	"fmt"
	"net/url"

	"github.com/wharfci/wharf/driver/drivertest"
)

// Tested is a runtime as the conformance suite reaches it.
type Tested struct {
	// Harness is for the suite. Process is left to the caller.
	Harness drivertest.Harness
	// URL names the driver for another process that takes part; see [For].
	URL   string
	close func()
}

// Close ends what was begun for the suite. The zero value has nothing to end.
func (t *Tested) Close() {
	if t.close != nil {
		t.close()
	}
}

// Harness returns what the conformance suite needs of the runtime that a name or URL of [Opened] names. Node is the socket of the containerd of a
// cluster's node, and empty for other runtimes. The caller closes what it gets.
func Harness(ctx context.Context, name, node string) (*Tested, error) {
	k, u, err := parse(name)
	if err != nil {
		return nil, err
	}
	switch {
	case k.harness == nil && k.nodeHarness == nil:
		return nil, usage("the conformance suite cannot reach %s from here: it runs on Linux only", k.name)
	case k.nodeHarness == nil && node != "":
		return nil, usage("--node-containerd is for Kubernetes: %s has no nodes", k.name)
	case k.nodeHarness == nil:
		h, err := k.harness(u)
		if err != nil {
			return nil, fmt.Errorf("driver %q: %w", name, err)
		}
		return &Tested{Harness: h, URL: name}, nil
	case node == "":
		return nil, usage("the suite puts images on the node of %s, and kills what runs there: run it on the node of a cluster that has one, or as a pod (docs/runtimes/kubernetes-conformance.yaml), and name the socket of the node's containerd with --node-containerd, such as %s", k.name, nodeSockets)
	}
	t, err := k.nodeHarness(ctx, u, node)
	if err != nil {
		return nil, fmt.Errorf("driver %q: %w", name, err)
	}
	return t, nil
}

// nodeSockets are where the containerd of a node is.
const nodeSockets = "/run/containerd/containerd.sock, or /run/k3s/containerd/containerd.sock"

// For returns the URL of a driver's name or URL with another owner.
func For(name, owner string) (string, error) {
	_, u, err := parse(name)
	if err != nil {
		return "", err
	}
	of := *u
	query := of.Query()
	query.Set("owner", owner)
	of.RawQuery = query.Encode()
	return (&url.URL{Scheme: of.Scheme, User: of.User, Host: of.Host, Path: of.Path, RawQuery: of.RawQuery}).String(), nil
}
