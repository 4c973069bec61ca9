package dockertest_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/docker/dockertest"
	"github.com/wharfci/wharf/driver/drivertest"
)

// A program that runs one case of the suite on the daemon at hand. In a test, drivertest.Run does so for all.
func ExampleHarness() {
	h, err := dockertest.Harness(docker.Config{})
	if err != nil {
		log.Fatal(err)
	}
	reports, err := drivertest.Check(context.Background(), h, drivertest.Options{Match: regexp.MustCompile("^results/exit-code-255$")})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range reports {
		fmt.Println(r.ID, r.Passed())
	}
	// Output:
	// results/exit-code-255 true
	// after/nothing-left true
	// after/no-goroutine true
	// after/no-descriptor true
}

// TestLeftSeesWhatIsLeft guards the rule that nothing is left: who looks under a wrong label finds nothing.
func TestLeftSeesWhatIsLeft(t *testing.T) {
	h, err := dockertest.Harness(docker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprint("left-", os.Getpid())
	d, err := h.Open(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	id, err := d.CreateVolume(t.Context(), driver.VolumeSpec{Name: "forgotten"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.RemoveVolume(context.WithoutCancel(t.Context()), id)
	left, err := h.Left(t.Context(), owner)
	if want := []string{fmt.Sprintf("volume wharf_%s_forgotten", owner)}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %q, %v; want %q", left, err, want)
	}
}
