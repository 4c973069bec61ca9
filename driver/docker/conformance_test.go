package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/docker/dockertest"
	"github.com/wharfci/wharf/driver/drivertest"
)

// serveOwner is the variable of the environment that makes the test binary the suite's other process.
const serveOwner = "WHARF_TEST_SERVE_OWNER"

func TestMain(m *testing.M) {
	if owner := os.Getenv(serveOwner); owner != "" {
		os.Exit(serve(owner))
	}
	os.Exit(m.Run())
}

func serve(owner string) int {
	d, err := docker.New(docker.Config{Owner: owner})
	if err == nil {
		defer d.Close()
		err = drivertest.Serve(context.Background(), d, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestConformance runs the conformance suite against the daemon of this machine.
func TestConformance(t *testing.T) { drivertest.Run(t, harness(t)) }

// TestConformanceUnderFaults runs a part of the suite while the connection to the daemon is cut and restored.
func TestConformanceUnderFaults(t *testing.T) { drivertest.RunFaultRounds(t, harness) }

func harness(t *testing.T) drivertest.Harness {
	h, err := dockertest.Harness(docker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), serveOwner+"="+owner)
		return cmd
	}
	return h
}
