package aggregator

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/aggregator/internal/transcript"
	"github.com/wharfci/wharf/aggregator/sink"
)

// files brings the artifacts of a build to the sink, beside its lines and in their order.
type files struct {
	*relay
	wake chan struct{}

	mu   sync.Mutex
	all  []transcript.Artifact
	over bool // there will be no others
}

func newFiles(r *relay) *files { return &files{relay: r, wake: make(chan struct{}, 1)} }

// add takes the artifacts that there are so far.
func (f *files) add(all []transcript.Artifact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(all) > len(f.all) {
		f.all = append(f.all, all[len(f.all):]...)
		signal(f.wake)
	}
}

// end says that there will be no others.
func (f *files) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	signal(f.wake)
}

// next returns those from the n-th on, and whether there will be others.
func (f *files) next(n int) (some []transcript.Artifact, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all[n:]), f.over
}

// run brings them all. One that the sink does not take now is tried again here: the lines go on beside it.
func (f *files) run(ctx context.Context) error {
	f.refused = nil
	for n := 0; ; {
		some, over := f.next(n)
		if len(some) == 0 && over {
			return nil
		}
		for i := range some {
			if err := f.insist(ctx, &some[i]); err != nil {
				return err
			}
			n++
		}
		if len(some) > 0 {
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mostInsistence is how long an artifact is tried that the sink does not take while it takes all else.
const mostInsistence = 15 * time.Minute

// insist brings one, and tries until the sink takes or refuses it.
func (f *files) insist(ctx context.Context, a *transcript.Artifact) error {
	began, wait := time.Now(), backoff{}
	for {
		err := f.put(ctx, a)
		var s sinkError
		if err == nil || ctx.Err() != nil || !errors.As(err, &s) {
			return err
		}
		if errdefs.IsNotFound(err) { // the build, and so all else
			return err
		}
		if f.a.tide.trouble() != nil {
			began = time.Now()
		} else if time.Since(began) > mostInsistence {
			f.refuse(a, err)
			return nil
		}
		next := wait.next(mostPause)
		f.a.log.Warn("the sink does not take an artifact; trying again", "worker", f.m.worker.ID, "build", f.m.worker.Build, "artifact", a.Path, "error", err, "in", next.Round(time.Millisecond).String())
		if !f.a.tide.wait(ctx, next) {
			return context.Cause(ctx)
		}
	}
}

// put brings one.
func (f *files) put(ctx context.Context, a *transcript.Artifact) error {
	done, err := f.renew.use(ctx)
	if err != nil {
		return err
	}
	defer done()
	var broken error // the source's
	err = f.t.report.PutArtifact(ctx, sink.Artifact{
		Name: a.Name, Size: a.Size, SHA256: a.SHA256, TestResults: a.TestResults,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			broken = nil
			ctx, cancel := context.WithCancel(ctx)
			r, w := io.Pipe()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, err := f.source.ReadArtifact(ctx, a.Step, a.Path, 0, w)
				_ = w.CloseWithError(err)
				if ctx.Err() == nil && !errors.Is(err, io.ErrClosedPipe) {
					broken = err
				}
			}()
			return &piped{r, func() { cancel(); <-ended }}, nil
		},
	})
	switch {
	case err == nil:
		f.a.met.files.Inc()
		return nil
	case isDamaged(broken), broken == nil && errdefs.IsInvalidArgument(err):
		f.refuse(a, err)
		return nil
	case broken != nil:
		return broken
	}
	return ofSink(err)
}

// isDamaged reports whether an error of the source says that it does not have what its journal tells.
func isDamaged(err error) bool {
	switch status.Code(err) {
	case codes.DataLoss, codes.NotFound, codes.OutOfRange:
		return true
	}
	return errors.Is(err, fs.ErrNotExist)
}

// piped is what comes out of a pipe.
type piped struct {
	*io.PipeReader
	end func()
}

func (p *piped) Close() error {
	err := p.PipeReader.Close()
	p.end()
	return err
}
