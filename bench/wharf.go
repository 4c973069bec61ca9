package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

// sequence is a definition of n stages with a step each.
func sequence(n int, script string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "stage%d:\n%s", i+1, definitionStep("step", script))
	}
	return b.String()
}

// parallel is a definition of one stage with n steps.
func parallel(n int, script string) string {
	var b strings.Builder
	b.WriteString("stage:\n")
	for i := range n {
		b.WriteString(definitionStep(fmt.Sprintf("step%d", i+1), script))
	}
	return b.String()
}

func definitionStep(name, script string) string {
	return fmt.Sprintf("  %s:\n    container:\n      image: %s\n      cmds: [%q]\n", name, image, script)
}

// build runs "wharf run" on a project that holds nothing but the definition.
func (b *bench) build(name, definition string, flags ...string) func(context.Context) (sample, error) {
	return func(ctx context.Context) (sample, error) {
		project, err := b.project(name, definition)
		if err != nil {
			return sample{}, err
		}
		results := filepath.Join(b.dir, name+".results")
		if err := os.RemoveAll(results); err != nil {
			return sample{}, err
		}
		return b.runWharf(ctx, append([]string{"run", project, "--driver=docker", "--output=plain", "--results=" + results}, flags...), nil)
	}
}

// engine runs a definition with the engine itself, in this process and without a repository: what is left is what the
// floor does too.
func (b *bench) engine(name, definition string) func(context.Context) (sample, error) {
	return func(ctx context.Context) (s sample, err error) {
		parsed, err := pipeline.Parse(name, []byte(definition))
		if err != nil {
			return s, err
		}
		plan, err := parsed.Plan(pipeline.Options{})
		if err != nil {
			return s, err
		}
		d, err := docker.New(docker.Config{Owner: "bench"})
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		build, err := worker.New(worker.Config{ID: worker.NewID(), Driver: d, Plan: plan})
		if err != nil {
			return s, err
		}
		begin := time.Now()
		out, err := build.Run(ctx)
		s.wall = time.Since(begin)
		if err == nil && out.State != worker.Succeeded {
			err = fmt.Errorf("%s: %s: %s", name, out.State, out.Reason)
		}
		return s, err
	}
}

func (b *bench) project(name, definition string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, ".wharf-ci.yml"), []byte(definition), 0o644)
}

// runWharf runs the binary as its users do, and says what it cost. What it prints about the build is thrown away: the
// results directory has it all.
func (b *bench) runWharf(ctx context.Context, args, env []string) (sample, error) {
	var trouble bytes.Buffer
	cmd := exec.CommandContext(ctx, b.wharf, args...)
	cmd.Stderr = &trouble
	cmd.Env = append(os.Environ(), append(env, "XDG_STATE_HOME="+filepath.Join(b.dir, "state"))...)
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("wharf %s: %w\n%s", strings.Join(args, " "), err, trouble.String())
	}
	ps := cmd.ProcessState
	return sample{wall: time.Since(begin), cpu: ps.UserTime() + ps.SystemTime(), rss: maxRSS(ps)}, nil
}
