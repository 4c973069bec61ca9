package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

// complete puts defaults into what was left empty, and checks the rest.
func (c *Config) complete() error {
	if c.Driver == nil || c.Plan == nil {
		return errors.New("worker: Config needs a Driver and a Plan")
	}
	if err := c.identify(); err != nil {
		return err
	}
	if c.Parallel == 0 {
		c.Parallel = runtime.NumCPU()
	}
	if n := c.Plan.Concurrency; n > 0 {
		c.Parallel = min(c.Parallel, n)
	}
	if c.Timeout == 0 {
		c.Timeout = time.Duration(c.Plan.Timeout)
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Project == "" && c.Repository != "" {
		abs, err := filepath.Abs(c.Repository)
		if err != nil {
			return err
		}
		c.Project = abs
	}
	var errs []error
	if err := driver.ValidName(c.ID); err != nil || len(c.ID) > maxID {
		errs = append(errs, fmt.Errorf("build ID %q: must be 1 to %d of a-z, 0-9 and hyphens", c.ID, maxID))
	}
	if c.Parallel < 0 || c.Timeout < 0 || c.Grace < 0 || c.Quota < 0 || c.StepLogLimit < 0 || c.LogLimit < 0 {
		errs = append(errs, errors.New("worker: Parallel, Timeout, Grace, Quota and the limits of logs must not be negative"))
	}
	errs = append(errs, driver.ValidLabels(c.Labels), isDir("repository", c.Repository), isDir("certificates", c.Certificates), isDir("secrets", c.Secrets))
	return errors.Join(errs...)
}

// identify sees to it that there is an ID: that of the build that is gone on with, or a new one.
func (c *Config) identify() error {
	if c.Resume && c.Results != "" {
		r, err := journal.Open(c.Results)
		if err == nil {
			id := r.Header().Build
			_ = r.Close()
			if c.ID != "" && c.ID != id {
				return fmt.Errorf("results directory %s holds build %s, not %s", c.Results, id, c.ID)
			}
			c.ID = id
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if c.ID == "" {
		c.ID = NewID()
	}
	return nil
}

func isDir(what, dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no directory %s", what, dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %s is not a directory", what, dir)
	}
	return nil
}

// label is how a step is called in messages.
func label(stage *pipeline.Stage, s *pipeline.Step) string { return stage.Name + "/" + s.Name }

// mayRun goes over the steps, with their stages, that the plan has not left out.
func mayRun(plan *pipeline.Plan) iter.Seq2[*pipeline.Stage, *pipeline.Step] {
	return func(yield func(*pipeline.Stage, *pipeline.Step) bool) {
		for i := range plan.Stages {
			stage := &plan.Stages[i]
			if stage.Skip != "" {
				continue
			}
			for j := range stage.Steps {
				if !yield(stage, &stage.Steps[j]) {
					return
				}
			}
		}
	}
}

// check looks at every step that may run.
func (b *Build) check() error {
	var errs []error
	for stage, s := range mayRun(b.cfg.Plan) {
		if err := b.checkStep(s); err != nil {
			errs = append(errs, fmt.Errorf("step %s: %w", label(stage, s), err))
		}
	}
	return errors.Join(errs...)
}

func (b *Build) checkStep(s *pipeline.Step) error {
	if s.Type != pipeline.TypeContainer || s.Container == nil {
		return fmt.Errorf("type %s cannot be run yet; only container steps can", s.Type)
	}
	errs := []error{driver.ValidName(s.ID)}
	for _, glob := range s.Artifacts {
		if !doublestar.ValidatePattern(glob) || !filepath.IsLocal(filepath.FromSlash(glob)) {
			errs = append(errs, fmt.Errorf("artifacts: %q is no pattern of paths in the workspace", glob))
		}
	}
	seen := map[string]string{Workspace: "the workspace"}
	for _, c := range s.Cache {
		p := cachePath(c)
		if p == "/" || seen[p] != "" {
			errs = append(errs, fmt.Errorf("cache %q: path %q cannot be a cache, or is %s already", c.Key, c.Path, seen[p]))
		}
		seen[p] = "a cache"
		if b.holdsSecret(c.Key) {
			errs = append(errs, fmt.Errorf("cache %s: the key holds a secret, which would show in the volume's name", p))
		}
	}
	if s.Container.SecretName != "" {
		env, err := b.cfg.projectSecret(s.Container.SecretName)
		errs = append(errs, err)
		b.secrets[s.ID] = env
	}
	for name, value := range s.Container.Env {
		if b.holdsSecret(value) && !identifier(name) {
			errs = append(errs, fmt.Errorf("env %q holds a secret, so its name must be letters, digits and underscores", name))
		}
	}
	return errors.Join(errs...)
}

func (b *Build) holdsSecret(text string) bool {
	for _, secret := range b.cfg.Plan.Secrets {
		if secret != "" && strings.Contains(text, secret) {
			return true
		}
	}
	return false
}

func cachePath(c pipeline.Cache) string {
	if path.IsAbs(c.Path) {
		return path.Clean(c.Path)
	}
	return path.Join(Workspace, c.Path)
}

// fits reports, all at once, what the runtime cannot do of what the plan's steps ask for.
func (b *Build) fits(caps driver.Capabilities) error {
	var errs []error
	for stage, s := range mayRun(b.cfg.Plan) {
		for _, what := range b.missing(s, caps) {
			errs = append(errs, fmt.Errorf("step %s needs %s, which %s does not have", label(stage, s), what, caps.Runtime))
		}
	}
	return errors.Join(errs...)
}

// missing names what a step needs and the runtime lacks.
func (b *Build) missing(s *pipeline.Step, caps driver.Capabilities) []string {
	var lacks []string
	need := func(wanted, there bool, what string) {
		if wanted && !there {
			lacks = append(lacks, what)
		}
	}
	need(caps.OS != "" && s.Container.OS != caps.OS, false, "os "+s.Container.OS)
	need(len(s.Services) > 0, caps.Services, "services")
	need(b.envFile(s) != nil, caps.Secrets, "secrets")
	need(s.Resources.CPULimit > 0, caps.CPULimit, "a CPU limit")
	need(s.Resources.MemoryLimit > 0, caps.MemoryLimit, "a memory limit")
	return lacks
}
