package podman

import (
	"testing"

	"github.com/containerd/errdefs"
)

// Of what goes while the service looks at it, it says so in words, under another status: 500.
func TestGoneMeanwhile(t *testing.T) {
	for _, words := range []string{
		"no volume with name build found in database: no such volume",
		"container 0123 does not exist in database: no such container",
	} {
		if err := error(&apiError{status: 500, Message: words}); !errdefs.IsNotFound(err) {
			t.Errorf("%q is not taken for NotFound", words)
		}
	}
}
