package sinktest_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/sinktest"
)

func (r *report) PutArtifact(ctx context.Context, a sink.Artifact) error {
	var have bool
	err := r.enter(ctx, func() error {
		if err := r.fenced("artifact"); err != nil {
			return err
		}
		b, err := r.known()
		if err != nil {
			return err
		}
		have = slices.ContainsFunc(b.Files, func(f sinktest.File) bool { return f.Name == a.Name })
		if r.bug == "puts again" {
			have = false
		}
		if r.bug == "knows its own files" {
			have = slices.Contains(r.put, a.Name)
		}
		return nil
	})
	if err != nil || have {
		return err
	}
	content, err := r.read(ctx, a)
	if err != nil {
		return err
	}
	return r.enter(ctx, func() error {
		if err := r.fenced("artifact"); err != nil {
			return err
		}
		b, err := r.known()
		if err != nil {
			return err
		}
		if r.bug == "says so in the log" {
			b.Lines = append(b.Lines, sink.Line{Text: []byte("there is a file")})
		}
		if r.bug == "escapes names" {
			a.Name = url.QueryEscape(a.Name)
		}
		if r.bug == "results are no files" && a.TestResults {
			return nil
		}
		r.put = append(r.put, a.Name)
		b.Files = append(b.Files, sinktest.File{Name: a.Name, Content: content})
		return nil
	})
}

// read reads a source.
func (r *report) read(ctx context.Context, a sink.Artifact) ([]byte, error) {
	file, err := a.Open(ctx)
	if err != nil {
		if r.bug == "opens nothing" {
			return nil, nil
		}
		return nil, err
	}
	if r.bug != "leaks" {
		defer file.Close()
	}
	var source io.Reader = file
	if r.bug == "cuts files" {
		source = io.LimitReader(file, a.Size)
	}
	content, err := io.ReadAll(source)
	switch {
	case r.bug == "reads once":
		return content[:min(len(content), 1)], nil
	case r.bug == "stores torn files":
		return content, nil
	case err != nil:
		return nil, err
	case int64(len(content)) != a.Size && r.bug != "any size", r.bug == "no empty files" && a.Size == 0:
		return nil, errors.New("wrong size")
	case r.bug == "a small store" && a.Size > 1<<20:
		return nil, errdefs.ErrInvalidArgument
	case r.bug == "tears" && a.Size > 32<<10:
		return content[:32<<10], nil
	}
	return content, nil
}

func (r *report) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bug == "doubles at the end" && len(r.pending) > 0 {
		b := r.builds[r.id]
		b.Lines = append(append(b.Lines, r.pending...), r.pending...)
	}
	r.pending = nil
	return nil
}
