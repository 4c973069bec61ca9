//go:build linux

package containerd_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/containerd/containerdtest"
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
	cfg := config()
	cfg.Owner = owner
	d, err := containerd.New(cfg)
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

// config is of directories and addresses that nobody else uses.
func config() containerd.Config {
	base := filepath.Join(os.TempDir(), "wharf-containerd-test")
	return containerd.Config{
		Namespace: "wharf-test", Subnet: "10.93.0.0/16", Cgroup: os.Getenv("CONTAINERD_CGROUP"),
		Root: filepath.Join(base, "root"), State: filepath.Join(base, "state"),
	}
}

// TestConformance runs the conformance suite against the daemon of CONTAINERD_ADDRESS, or the one at the usual socket.
func TestConformance(t *testing.T) { drivertest.Run(t, harness(t)) }

// TestConformanceUnderFaults runs a part of the suite while the connection to the daemon is cut and restored.
func TestConformanceUnderFaults(t *testing.T) { drivertest.RunFaultRounds(t, harness) }

// harness needs a daemon: without one, the tests fail.
func harness(t *testing.T) drivertest.Harness {
	h, err := containerdtest.Harness(config())
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.Open(t.Context(), "harness")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Capabilities(t.Context()); err != nil {
		t.Fatalf("this test needs a containerd (see scripts/with-containerd), and root: %v", err)
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), serveOwner+"="+owner)
		return cmd
	}
	return h
}

// TestDocumented compares docs/runtimes.md, by the file that its table is made of, with what the driver claims here.
func TestDocumented(t *testing.T) {
	drivertest.Documented(t, harness(t), "../../docs/runtimes/containerd.json")
}
