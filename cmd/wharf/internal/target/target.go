// Package target finds a build by what a person calls it, and reads it and acts on it alike whether a process serves it or only its files are there.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/cmd/wharf/internal/builds"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// Target is a build.
type Target struct {
	// Dir is its results directory; empty if it is on another machine.
	Dir string
	// client speaks with the process that serves it; nil if none does.
	client *client.Client
	// id is the build's, once the client has told it.
	id string
}

// Remote is what is needed to reach a worker by its address.
type Remote struct {
	Token string
	// CA is a file of certificates; TLS is used if it is set, or if Insecure is not and the address has the form "tls://host:port".
	CA string
}

// Open finds a build: by the address of its worker ("host:port", "tls://host:port" or "unix:///path"), by its results directory, or by
// its ID or the beginning of it; the empty name is the newest build of the project in the working directory.
func Open(ctx context.Context, name string, remote Remote) (*Target, error) {
	if dir, err := local(name); err != nil || dir != "" {
		if err != nil {
			return nil, err
		}
		return OpenDir(ctx, dir)
	}
	return dial(name, remote)
}

// local returns the results directory that a name stands for, or nothing for an address.
func local(name string) (string, error) {
	if strings.Contains(name, "://") {
		return "", nil
	}
	if name != "" {
		if _, err := os.Stat(name); err == nil {
			return filepath.Abs(name)
		}
		if _, _, err := net.SplitHostPort(name); err == nil {
			return "", nil
		}
	}
	store, err := builds.Open()
	if err != nil {
		return "", err
	}
	if name == "" {
		return newest(store)
	}
	return store.Find(name)
}

func newest(store *builds.Store) (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	all, err := store.Of(wd)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", fmt.Errorf("no build of %s is kept; name one: its ID, its results directory, or its worker's address (\"wharf ps --all\" lists what is kept)", wd)
	}
	return all[len(all)-1].Dir, nil
}

// OpenDir opens the build of a results directory. A process that serves it is asked; a file that a killed one has left names nobody.
func OpenDir(ctx context.Context, dir string) (*Target, error) {
	t := &Target{Dir: dir}
	if err := t.attach(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// ask asks the process that serves the build where it stands.
func (t *Target) ask(ctx context.Context, withPlan bool) (client.Build, error) {
	b, err := t.client.Build(ctx, withPlan)
	if err != nil {
		return b, err
	}
	if t.id != "" && b.ID != t.id {
		return b, fmt.Errorf("another build is served there now: %s, no longer %s", b.ID, t.id)
	}
	t.id = b.ID
	return b, nil
}

func dial(address string, remote Remote) (*Target, error) {
	opts := client.Options{Token: remote.Token}
	host, encrypted := strings.CutPrefix(address, "tls://")
	if encrypted || remote.CA != "" {
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if remote.CA != "" {
		pem, err := os.ReadFile(remote.CA)
		if err != nil {
			return nil, err
		}
		opts.TLS.RootCAs = x509.NewCertPool()
		if !opts.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", remote.CA)
		}
	}
	c, err := client.Dial(host, opts)
	if err != nil {
		return nil, err
	}
	return &Target{client: c}, nil
}

// Close frees the target.
func (t *Target) Close() {
	if t.client != nil {
		_ = t.client.Close()
	}
}

// Served reports whether a process serves the build.
func (t *Target) Served() bool { return t.client != nil }

// Build returns where the build stands. Without a process that serves it, one that has no end on record was broken off.
func (t *Target) Build(ctx context.Context) (client.Build, error) {
	if t.client != nil {
		b, err := t.ask(ctx, false)
		return b, explain(err)
	}
	r, err := journal.Open(t.Dir)
	if err != nil {
		return client.Build{}, err
	}
	id := r.Header().Build
	_ = r.Close()
	s, err := journal.Summarize(t.Dir)
	if err != nil {
		return client.Build{}, err
	}
	b := client.Build{ID: id, State: s.State, Reason: s.Reason, Began: s.Began, Ended: s.Ended, Last: s.Last}
	for _, step := range s.Steps {
		b.Steps = append(b.Steps, client.Step{ID: step.ID, Stage: step.Stage, State: step.State, Reason: step.Reason, Attempt: step.Attempt, Since: step.Since})
	}
	return b, nil
}

// Plan returns the build's plan, without its secrets; an empty one if it has not been stored yet.
func (t *Target) Plan(ctx context.Context) (*pipeline.Plan, error) {
	var text []byte
	if t.client != nil {
		b, err := t.ask(ctx, true)
		if err != nil {
			return nil, explain(err)
		}
		text = b.Plan
	} else {
		var err error
		if text, err = os.ReadFile(filepath.Join(t.Dir, journal.PlanFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	plan := &pipeline.Plan{}
	if len(text) == 0 {
		return plan, nil
	}
	if err := json.Unmarshal(text, plan); err != nil {
		return nil, fmt.Errorf("the stored plan: %w", err)
	}
	return plan, nil
}

// explain says in words of wharf what an error of the API means.
func explain(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch s.Code() {
	case codes.Unauthenticated:
		return fmt.Errorf("the worker refuses: %s; --token-file or $WHARF_WORKER_TOKEN gives it", s.Message())
	case codes.Unavailable:
		return fmt.Errorf("the worker cannot be reached: %s", s.Message())
	}
	return fmt.Errorf("the worker says: %s", s.Message())
}
