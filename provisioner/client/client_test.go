package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
	"github.com/wharfci/wharf/provisioner/report"
)

// start runs a provisioner whose workers succeed at once.
func start(ctx context.Context) (url string, stop func(), err error) {
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(_ context.Context, p *fake.Proc) int {
		if p.Args()[1] == "worker" {
			_ = report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		}
		return 0
	}}})
	d := rt.Open("workers")
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "registry.example/wharf/worker:1", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s := httptest.NewServer(p.Handler(provisioner.Gate{Tokens: map[string]string{"wharf-api": "secret"}}))
	return s.URL, func() { cancel(); <-done; s.Close(); d.Close() }, nil
}

func build(n string) map[string]string {
	return map[string]string{"BUILD_REF": n, "GIT_BRANCH": "main", "GIT_FULLURL": "https://git.example.com/group/name.git"}
}

func Example() {
	ctx := context.Background()
	url, stop, err := start(ctx)
	if err != nil {
		panic(err)
	}
	defer stop()
	c, err := client.New(url, "secret", client.Options{})
	if err != nil {
		panic(err)
	}
	w, err := c.Trigger(ctx, build("1"))
	if err != nil {
		panic(err)
	}
	for now, err := range c.Watch(ctx) {
		if err != nil {
			panic(err)
		}
		if now.ID == w.ID && now.State.Final() {
			fmt.Println("build", now.Build, now.State)
			break
		}
	}
	if err := c.Delete(ctx, w.ID); err != nil {
		panic(err)
	}
	// Output: build 1 succeeded
}

func TestClient(t *testing.T) {
	url, stop, err := start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c, err := client.New(url, "secret", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.String() != url {
		t.Errorf("it is a client of %s, and should be of %s", c, url)
	}
	w, err := c.Trigger(t.Context(), build("7"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil { // there is a runtime, and the image was fetched
		t.Errorf("it is not ready: %v", err)
	}
	var changed error
	for now, err := range c.Watch(t.Context()) {
		if changed = err; err != nil || now.State.Final() {
			break
		}
	}
	if changed != nil {
		t.Error(changed)
	}
	if one, err := c.Worker(t.Context(), w.ID); err != nil || one.State != provisioner.Succeeded {
		t.Errorf("the worker is %+v, %v", one, err)
	}
	if all, err := c.Workers(t.Context(), provisioner.Succeeded); err != nil || len(all) != 1 {
		t.Errorf("those that succeeded are %v, %v", all, err)
	}
	if none, err := c.Workers(t.Context(), provisioner.Running); err != nil || len(none) != 0 {
		t.Errorf("those that run are %v, %v", none, err)
	}
	if removed, err := c.Prune(t.Context(), 0); err != nil || len(removed) != 1 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
	var problem *provisioner.Problem
	if err := c.Delete(t.Context(), w.ID); !errors.As(err, &problem) || problem.Status != 404 {
		t.Errorf("deleting it again: %v", err)
	}
	bad := build("x")
	if _, err := c.Trigger(t.Context(), bad); !errors.As(err, &problem) || problem.Status != 400 || len(problem.Errors) != 1 {
		t.Errorf("a build without a number: %v", err)
	}
	other, err := client.New(url, "wrong", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range other.Watch(t.Context()) {
		if !errors.As(err, &problem) || problem.Status != 401 {
			t.Errorf("watching with a wrong token: %v", err)
		}
	}
	for _, address := range []string{"", "provisioner:5009", "ftp://x"} {
		if _, err := client.New(address, "", client.Options{}); err == nil {
			t.Errorf("%q is taken for a provisioner's URL", address)
		}
	}
}

// TestNotReady: the provisioner's own words say why.
func TestNotReady(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(provisioner.Problem{Title: r.URL.Path, Status: http.StatusServiceUnavailable, Detail: "the runtime is away"})
	}))
	defer s.Close()
	c, err := client.New(s.URL, "", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var problem *provisioner.Problem
	if err := c.Ready(t.Context()); !errors.As(err, &problem) || problem.Title != "/readyz" || problem.Detail != "the runtime is away" {
		t.Errorf("it says %v", err)
	}
}

// TestPruneSome: what was removed is told, and what could not be.
func TestPruneSome(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(provisioner.Pruned{Removed: []string{"build-1"}, Failed: []string{"worker build-2: it stays"}})
	}))
	defer s.Close()
	c, err := client.New(s.URL, "", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	removed, err := c.Prune(t.Context(), 0)
	if !slices.Equal(removed, []string{"build-1"}) || err == nil || !strings.Contains(err.Error(), "worker build-2: it stays") {
		t.Errorf("removed %q, %v", removed, err)
	}
}
