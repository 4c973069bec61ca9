package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/cmd/wharf/internal/served"
	"github.com/wharfci/wharf/worker/client"
)

// ErrUnasked is matched by the error of a directory whose build a process serves, or may serve, that cannot be asked.
var ErrUnasked = errors.New("the process that serves the build cannot be asked")

// answerTime is how long a process on this machine has for its first answer.
const answerTime = 5 * time.Second

// attach connects with the process that serves the directory, if one does.
func (t *Target) attach(ctx context.Context) error {
	e, err := served.Read(t.Dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return unasked(err)
	}
	return t.connect(ctx, e)
}

// connect connects with the process that is reached so, unless it is gone.
func (t *Target) connect(ctx context.Context, e served.Endpoint) (err error) {
	path, _ := strings.CutPrefix(e.Address, "unix://")
	dial := func(ctx context.Context, _ string) (net.Conn, error) { // the path as it is: gRPC would read it as that of a URL
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	if t.client, err = client.Dial("worker", client.Options{Token: e.Token, Dial: dial}); err != nil {
		return unasked(err)
	}
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if _, err = t.ask(limited, false); err == nil {
		return nil
	}
	t.Close()
	t.client = nil
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if status.Code(err) != codes.Unavailable {
		return unasked(err)
	}
	conn, dialErr := dial(limited, "") // gRPC tells only the words of its error
	switch {
	case dialErr == nil:
		_ = conn.Close()
		return unasked(err)
	case errors.Is(dialErr, fs.ErrNotExist) || errors.Is(dialErr, syscall.ECONNREFUSED): // a process that was killed left the file
		return nil
	}
	return unasked(dialErr)
}

// unasked says why a process cannot be asked, and what to do.
func unasked(err error) error {
	advice := "try again"
	switch {
	case errors.Is(err, fs.ErrPermission):
		advice = "only the user that runs it may"
	case errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded:
		advice = "it does not answer; if it is paused, let it go on"
	case errors.Is(err, served.ErrDamaged):
		advice = "remove that file, unless a process runs the build"
	case status.Code(err) == codes.Unauthenticated:
		advice = "its token is not the one in worker.json, which another process has left; remove that file"
	}
	if s, ok := status.FromError(err); ok {
		err = errors.New(s.Message())
	}
	return fmt.Errorf("%w: %w: %s", ErrUnasked, err, advice)
}
