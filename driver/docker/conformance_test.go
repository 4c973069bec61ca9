package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/docker/dockertest"
	"github.com/wharfci/wharf/driver/drivertest"
)

// serveOwner is the variable of the environment that makes the test binary the suite's other process.
const serveOwner = "WHARF_TEST_SERVE_OWNER"

// serveKey is that of its SealKey.
const serveKey = "WHARF_TEST_SERVE_KEY"

func TestMain(m *testing.M) {
	if owner := os.Getenv(serveOwner); owner != "" {
		os.Exit(serve(owner))
	}
	os.Exit(m.Run())
}

func serve(owner string) int {
	cfg := docker.Config{Owner: owner}
	if key := os.Getenv(serveKey); key != "" {
		cfg.SealKey = []byte(key)
	}
	d, err := docker.New(cfg)
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

// TestConformanceSealed runs what has to do with secrets and several containers, with a SealKey.
func TestConformanceSealed(t *testing.T) {
	opts := drivertest.Options{Match: regexp.MustCompile(`secret|init|service`), Parallel: 8}
	reports, err := drivertest.Check(t.Context(), harnessOf(t, docker.Config{SealKey: []byte("a key of the tests")}), opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Passed() {
			t.Errorf("%s: %s\n%s", r.ID, r.Contract, strings.Join(r.Failures, "\n"))
		}
	}
}

func harness(t *testing.T) drivertest.Harness { return harnessOf(t, docker.Config{}) }

func harnessOf(t *testing.T, cfg docker.Config) drivertest.Harness {
	h, err := dockertest.Harness(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), serveOwner+"="+owner, serveKey+"="+string(cfg.SealKey))
		return cmd
	}
	return h
}
