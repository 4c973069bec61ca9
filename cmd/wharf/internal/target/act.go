package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/wharfci/wharf/worker/client"
)

// Cancel stops the build.
func (t *Target) Cancel(ctx context.Context, reason string, force bool) error {
	b, err := t.Build(ctx)
	switch {
	case err != nil:
		return err
	case b.State.Final():
		return fmt.Errorf("it has ended: %s", b.State)
	case t.client == nil:
		return errors.New("no process serves it: that was killed (\"wharf gc\" removes what it has left)")
	}
	return explain(t.client.Cancel(ctx, reason, force))
}

// Release says that everything of the build was taken, so that the process that serves it may end.
func (t *Target) Release(ctx context.Context) error {
	if t.client == nil {
		return errors.New("no process serves it: there is nothing to release")
	}
	claim, err := t.client.Claim(ctx, client.ClaimOptions{Holder: "wharf release"})
	if err != nil {
		return explain(err)
	}
	defer claim.Close()
	b, err := t.Build(ctx)
	if err != nil {
		return err
	}
	if !b.State.Final() {
		return errors.New("it still runs; \"wharf cancel\" stops it")
	}
	return explain(claim.Release(ctx, b.Last))
}
