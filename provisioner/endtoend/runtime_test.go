package endtoend

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/podman"
)

// cgroupEnv names the control group that the tests' containers of containerd are to be in.
const cgroupEnv = "CONTAINERD_CGROUP"

// open returns a driver for an owner.
func open(t testing.TB, runtime, owner string) driver.Driver {
	t.Helper()
	var d driver.Driver
	var err error
	switch runtime {
	case "docker":
		d, err = docker.New(docker.Config{Owner: owner})
	case "podman":
		d, err = podman.New(podman.Config{Owner: owner})
	case "containerd":
		d, err = containerd.New(containerd.Config{Owner: owner, Cgroup: os.Getenv(cgroupEnv)})
	case "kubernetes":
		d, err = kubernetes.New(kubernetes.Config{Owner: owner})
	default:
		t.Fatalf("$%s is %q: no test for that", runtimeEnv, runtime)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// address is where the runtime listens, as network and address.
func address(t testing.TB, runtime string) (network, at string) {
	t.Helper()
	var whole string
	var err error
	switch runtime {
	case "docker":
		whole, err = new(docker.Config).Address()
	case "podman":
		whole, err = new(podman.Config).Address()
	case "containerd":
		whole = "unix://" + containerd.Config{}.WithDefaults().Address
	case "kubernetes":
		whole = cluster(t).Host
	default:
		t.Fatalf("$%s is %q: no test for that", runtimeEnv, runtime)
	}
	if err != nil {
		t.Fatal(err)
	}
	network, at, _ = strings.Cut(whole, "://")
	if network != "unix" {
		network = "tcp"
	}
	return network, at
}

// warm runs a task, which makes the runtime's network and shows that it works.
func (s *system) warm() {
	s.t.Helper()
	ctx := s.t.Context()
	id, err := s.builds.Create(ctx, driver.TaskSpec{Name: "warm", Container: driver.Container{Image: stepImage, Entrypoint: []string{"/bin/true"}}})
	if err == nil {
		err = s.builds.Start(ctx, id)
	}
	if err != nil {
		s.t.Fatalf("a task: %v", err)
	}
	if res, err := s.builds.Wait(ctx, id); err != nil || !res.Succeeded() {
		s.t.Fatalf("a task: %v, %v", res, err)
	}
	if err := s.builds.Remove(ctx, id); err != nil {
		s.t.Fatal(err)
	}
}

// listen opens a port on an address that containers reach.
func listen(t testing.TB) net.Listener {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(addresses, func(a net.Addr) bool {
		ip := a.(*net.IPNet).IP
		return ip.To4() != nil && !ip.IsLoopback()
	})
	if i < 0 {
		t.Fatalf("there is no address that containers could reach: %v", addresses)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addresses[i].(*net.IPNet).IP.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// cluster is how the API server is reached.
func cluster(t testing.TB) *rest.Config {
	t.Helper()
	rc, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	rc.QPS = -1
	return rc
}

// grantAccount makes the workers' account of a namespace with the documented rights, and returns the address of the API server, which this cluster's pods do not reach as a service.
func grantAccount(t testing.TB, space string) string {
	t.Helper()
	rc := cluster(t)
	admin, err := api.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/runtimes/kubernetes-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	role := object.(*rbac.Role)
	role.Name = account
	ctx := t.Context()
	made := func(_ any, err error) {
		t.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	made(admin.CoreV1().ServiceAccounts(space).Create(ctx, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: account}}, meta.CreateOptions{}))
	made(admin.RbacV1().Roles(space).Create(ctx, role, meta.CreateOptions{}))
	made(admin.RbacV1().RoleBindings(space).Create(ctx, &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: account}, RoleRef: rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: account},
		Subjects: []rbac.Subject{{Kind: "ServiceAccount", Name: account, Namespace: space}},
	}, meta.CreateOptions{}))
	return rc.Host
}
