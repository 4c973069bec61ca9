package wharfapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

// PutArtifact stores a file.
func (r *report) PutArtifact(ctx context.Context, a sink.Artifact) error {
	var there bool
	err := r.settle(ctx, r.file, func() (done, more bool, err error) {
		names, err := r.rest.files(ctx, r.build)
		there = names[a.Name]
		return there || r.file.IsZero(), false, err
	})
	if err != nil || there {
		return err
	}
	r.file = time.Time{} // what was under way before has come, or will not
	what := "artifact"
	if a.TestResults && takesResults(a.Name) {
		what = "test-result"
	}
	err = r.send(ctx, a, of(r.build, what))
	if to := (moved{}); errors.As(err, &to) { // with a "/" behind it, say
		err = r.send(ctx, a, to.path)
	}
	if err != nil && !refused(err) {
		r.file = time.Now()
	}
	return err
}

// send sends a file.
func (r *report) send(ctx context.Context, a sink.Artifact, to string) error {
	file, err := a.Open(ctx)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", a.Name, err)
	}
	defer file.Close()
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	if _, err := form.CreateFormFile("files", a.Name); err != nil {
		return err
	}
	head := frame.Len()
	if err := form.Close(); err != nil {
		return err
	}
	whole := frame.Bytes()
	body := &watched{exact: exact{file, a.Size, a.Name}, timeout: r.rest.timeout}
	req := request{
		method: http.MethodPost, path: to, contentType: form.FormDataContentType(),
		body: io.MultiReader(bytes.NewReader(whole[:head]), body, bytes.NewReader(whole[head:])), length: int64(len(whole)) + a.Size,
		progress: body.watch,
	}
	return r.rest.call(ctx, req, nil)
}

// takesResults reports whether wharf-api reads the test results of a file.
func takesResults(name string) bool { return strings.EqualFold(path.Ext(name), ".trx") }

// exact is a file that has a certain size: less would be a broken request, and more none at all.
type exact struct {
	io.Reader
	left int64
	name string
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.left -= int64(n)
	if e.left < 0 || e.left > 0 && errors.Is(err, io.EOF) {
		return 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("artifact %s does not have the size that its journal tells", e.name))
	}
	return n, err
}

// watched is a body that is to be read on and on.
type watched struct {
	exact
	timeout time.Duration
	timer   *time.Timer
}

func (w *watched) watch(stalled func()) (stop func()) {
	w.timer = time.AfterFunc(w.timeout, stalled)
	return func() { w.timer.Stop() }
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	return w.exact.Read(p)
}
