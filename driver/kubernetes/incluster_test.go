package kubernetes_test

import (
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	api "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver/kubernetes"
)

// TestConformanceInCluster has "wharf conformance" look at some of the suite's rules from a pod, by the manifest of the documentation.
func TestConformanceInCluster(t *testing.T) {
	const image, space = "localhost/wharf/conformance:1", "conformance"
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "wharf"), filepath.Join(dir, "image.tar")
	command(t, "go", "build", "-o", program, "../../cmd/wharf")
	command(t, program, "helper-image", image, program, "--output", archive)
	c := cluster(t, kubernetes.Config{})
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.Harness.Load(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	defer c.Harness.RemoveImage(t.Context(), image)

	admin := administrator(t)
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: space}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer admin.CoreV1().Namespaces().Delete(t.Context(), space, meta.DeleteOptions{})
	applyConformance(t, admin, space, strings.NewReplacer(
		"registry.example/wharf/conformance:1", image, "registry.example/wharf/helper:1", kubernetes.DefaultHelperImage,
		"path: /run/containerd,", "path: "+filepath.Dir(os.Getenv("CONTAINERD_ADDRESS"))+","))
	if phase, log := conformancePod(t, admin, space); phase != core.PodSucceeded || !strings.Contains(log, "passed: ") {
		t.Errorf("the pod %s, it printed\n%s", phase, log)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// applyConformance makes what is in the manifest, with other names for what differs here. This cluster has no proxy for services: the pod is told
// where the API server is.
func applyConformance(t *testing.T, admin api.Interface, space string, names *strings.Replacer) {
	t.Helper()
	text, err := os.ReadFile("../../docs/runtimes/kubernetes-conformance.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(names.Replace(string(text)), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(part), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch o := object.(type) {
		case *core.ServiceAccount:
			_, err = admin.CoreV1().ServiceAccounts(space).Create(t.Context(), o, meta.CreateOptions{})
		case *rbac.RoleBinding:
			_, err = admin.RbacV1().RoleBindings(space).Create(t.Context(), o, meta.CreateOptions{})
		case *core.Pod:
			suite := &o.Spec.Containers[0]
			server := apiServer(t)
			suite.Args = append(suite.Args, "--run=^results/exit-code-1$|^lifecycle/second-process$|^results/killed-outside$|^images/always$")
			suite.Env = append(suite.Env, core.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: server.Hostname()}, core.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: server.Port()})
			_, err = admin.CoreV1().Pods(space).Create(t.Context(), o, meta.CreateOptions{})
		default:
			t.Fatalf("the manifest has a %T", object)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func apiServer(t *testing.T) *url.URL {
	t.Helper()
	rc, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(rc.Host)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// conformancePod waits for the end of the pod and returns what became of it.
func conformancePod(t *testing.T, admin api.Interface, space string) (core.PodPhase, string) {
	t.Helper()
	const name = "wharf-conformance"
	pods := admin.CoreV1().Pods(space)
	changes, err := pods.Watch(t.Context(), meta.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	var phase core.PodPhase
	for change := range changes.ResultChan() {
		p, ok := change.Object.(*core.Pod)
		if !ok {
			t.Fatalf("the watch says %v", change.Object)
		}
		if phase = p.Status.Phase; phase == core.PodSucceeded || phase == core.PodFailed {
			break
		}
	}
	log, err := pods.GetLogs(name, &core.PodLogOptions{}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	return phase, string(text)
}
