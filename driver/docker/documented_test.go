package docker_test

import (
	"testing"

	"github.com/wharfci/wharf/driver/drivertest"
)

// TestDocumented compares docs/runtimes.md, by the file that its table is made of, with what the driver claims here.
func TestDocumented(t *testing.T) {
	drivertest.Documented(t, harness(t), "../../docs/runtimes/docker.json")
}
