package guard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Whoever waits for another's question to a daemon that hangs is freed by the end of the own context.
func TestOnceHeedsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Once[int]
		hang := make(chan struct{})
		go o.Do(t.Context(), func(context.Context) (int, error) { <-hang; return 1, nil })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := o.Do(ctx, func(context.Context) (int, error) { return 2, nil })
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
		close(hang)
		if v, err := o.Do(t.Context(), nil); v != 1 || err != nil {
			t.Errorf("Do: %d, %v; want the first answer", v, err)
		}
	})
}
