package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/kubernetes/kubernetestest"
)

// Variables of the environment that make the test binary the suite's other process.
const (
	serveOwner      = "WHARF_TEST_SERVE_OWNER"
	serveMirror     = "WHARF_TEST_SERVE_MIRROR"
	serveKubeconfig = "WHARF_TEST_SERVE_KUBECONFIG"
	serveRoot       = "WHARF_TEST_SERVE_ROOT"
)

func TestMain(m *testing.M) {
	if owner := os.Getenv(serveOwner); owner != "" {
		os.Exit(serve(owner))
	}
	if owner := os.Getenv(halfOwner); owner != "" {
		os.Exit(makeHalf(owner))
	}
	os.Exit(m.Run())
}

func serve(owner string) int {
	d, err := kubernetes.New(kubernetes.Config{
		Kubeconfig: os.Getenv(serveKubeconfig), Owner: owner, Mirrors: map[string]string{"localhost": os.Getenv(serveMirror)}, VolumeRoot: os.Getenv(serveRoot),
	})
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

// TestConformance runs the conformance suite against the cluster of KUBECONFIG, whose node has its containerd at CONTAINERD_ADDRESS.
func TestConformance(t *testing.T) { drivertest.Run(t, harness(t)) }

// TestConformanceUnderFaults runs a part of the suite while the connection to the API server is cut and restored.
func TestConformanceUnderFaults(t *testing.T) { drivertest.RunFaultRounds(t, harness) }

// TestDocumented compares docs/runtimes.md, by the file that its table is made of, with what the driver claims here.
func TestDocumented(t *testing.T) {
	drivertest.Documented(t, harness(t), "../../docs/runtimes/kubernetes.json")
}

// TestVolumesOnNode runs what the suite has about volumes where they are directories of a node.
func TestVolumesOnNode(t *testing.T) {
	root := filepath.Join(t.TempDir(), "volumes")
	reports, err := drivertest.Check(t.Context(), harnessOf(t, kubernetes.Config{VolumeRoot: root}), drivertest.Options{Match: regexp.MustCompile(`^volumes/|^files/.*volume`), Parallel: 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Passed() {
			t.Errorf("%s: %s\n%s", r.ID, r.Contract, strings.Join(r.Failures, "\n"))
		}
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) > 0 || len(reports) < 10 {
		t.Errorf("after %d cases there is in the directory: %v, %v", len(reports), left, err)
	}
}

// harness needs a cluster: without one, the tests fail. The driver has the rights there that its documentation says it needs, and no others.
func harness(t *testing.T) drivertest.Harness { return harnessOf(t, kubernetes.Config{}) }

func harnessOf(t *testing.T, cfg kubernetes.Config) drivertest.Harness {
	t.Helper()
	c := cluster(t, cfg)
	h := c.Harness
	d, err := h.Open(t.Context(), "harness")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Capabilities(t.Context()); err != nil {
		t.Fatalf("this test needs a cluster (see scripts/with-kubernetes): %v", err)
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), serveOwner+"="+owner, serveMirror+"="+c.Config.Mirrors["localhost"], serveKubeconfig+"="+c.Config.Kubeconfig, serveRoot+"="+cfg.VolumeRoot)
		return cmd
	}
	return h
}

// cluster returns the cluster, with an account that has the documented role.
func cluster(t *testing.T, cfg kubernetes.Config) *kubernetestest.Cluster {
	t.Helper()
	role, err := os.ReadFile("../../docs/runtimes/kubernetes-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetestest.New(t.Context(), cfg, os.Getenv("CONTAINERD_ADDRESS"), role)
	if err != nil {
		t.Fatalf("this test needs a cluster (see scripts/with-kubernetes): %v", err)
	}
	t.Cleanup(c.Close)
	return c
}
