package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// sharedNetwork is the driver's network for all tasks that have none of their own: it stays.
const sharedNetwork = "wharf-default"

// listPodman lists containers, volumes, networks and secrets of the service of CONTAINER_HOST, or root's.
func listPodman(ctx context.Context) (map[string]string, error) {
	network, address, _ := strings.Cut(cmp.Or(os.Getenv("CONTAINER_HOST"), "unix:///run/podman/podman.sock"), "://")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	podman := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	found := finds{}
	for _, kind := range []string{"container", "volume", "network"} {
		list, err := askPodman(ctx, podman, kind+"s/json?all=true")
		if err != nil {
			return nil, fmt.Errorf("podman: %w", err)
		}
		for _, x := range list {
			if x.Name != sharedNetwork {
				found.add(kind, cmp.Or(x.ID, x.Name+x.CreatedAt), cmp.Or(x.Name, strings.Join(x.Names, " ")), x.Labels)
			}
		}
	}
	secrets, err := askPodman(ctx, podman, "secrets/json")
	if err != nil {
		return nil, fmt.Errorf("podman: %w", err)
	}
	for _, x := range secrets { // they have no labels
		if strings.HasPrefix(x.Spec.Name, "wharf_") {
			found["secret "+x.ID] = "secret " + x.Spec.Name
		}
	}
	return found, nil
}

// podmanObject is what is common to what Podman has.
type podmanObject struct {
	ID, Name, CreatedAt string
	Names               []string
	Labels              map[string]string
	Spec                struct{ Name string }
}

func askPodman(ctx context.Context, podman *http.Client, path string) (list []podmanObject, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://podman/v4.0.0/libpod/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := podman.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return list, json.NewDecoder(resp.Body).Decode(&list)
}
