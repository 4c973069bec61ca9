package kubernetes

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/wharfci/wharf/driver"
)

// DefaultHelperImage is the image of the helper that [Config].HelperImage names if it is empty.
const DefaultHelperImage = "localhost/wharf/helper:1"

// Config says which cluster a driver talks to, for whom, and what it allows. The zero value is the cluster that the pod of this
// process runs in, or else that of the kubeconfig's current context; the owner "default"; and nothing beyond the safe choice.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Empty is KUBECONFIG, or else the pod's own cluster, or else ~/.kube/config.
	Kubeconfig string
	// Context is one of the kubeconfig's contexts; empty is its current one.
	Context string
	// Server replaces the address of the API server that the kubeconfig names, such as "https://127.0.0.1:6443"; its certificate is
	// still checked against the name in the kubeconfig.
	Server string
	// Namespace is where everything is. Empty is the context's, or the pod's own, or "default".
	Namespace string
	// Owner is whose tasks and volumes the driver sees; see [driver.ValidName]. Empty is "default".
	Owner string
	// HelperImage holds the helper of this version of Wharf; empty is [DefaultHelperImage].
	HelperImage string
	// ServiceAccount is that of the tasks; empty is the namespace's default. Tasks get a token only if
	// their spec names an account, and then in the main container alone.
	ServiceAccount string
	// NodeSelector and Tolerations (as in [driver.Placement]) are added to those of each task.
	NodeSelector map[string]string
	Tolerations  []string
	// PullSecrets are names of Secrets of the namespace, with credentials for registries, for every task.
	PullSecrets []string
	// Mirrors says, by a registry's host as it stands in image names, where the configuration of its images can be read:
	// host:port, with http:// before it for one without TLS. It is for registries that the nodes reach by other means than
	// this process does.
	Mirrors map[string]string
	// Requests and Limits are those of containers whose spec sets none.
	Requests, Limits Amounts
	// StorageClass makes the volumes; empty is the cluster's default. VolumeSize, in bytes, is what a volume
	// asks for if its spec does not say; zero is 10 GiB.
	StorageClass string
	VolumeSize   int64
	// VolumeRoot, if set, is a directory of the nodes, such as "/var/lib/wharf", that has the volumes in the place of a storage class. A
	// volume, and so each task that uses it, stays on the node on which it was made. The namespace must admit pods with
	// directories of the host, and the helper as root with the capabilities that copies need. Whoever has an account on the node can write
	// the files of volumes. Do not remove a volume while a task that uses it is being made: nothing but a storage class's claim prevents that.
	VolumeRoot string
	// Parent, if set, owns every pod and claim: the cluster removes them when it is gone. It must be in the same namespace.
	Parent Parent
	// Gate creates tasks behind a scheduling gate, which Start lifts: nothing is pulled or reserved before. A missing image shows
	// only at Start then, as an error.
	Gate bool
	// Allow is what tasks may have beyond the safe choice; it belongs to the installation.
	Allow Policy
	// Patience is how long a call tries to reach an API server that has gone away before it gives up with Unavailable.
	// Zero is 30 seconds.
	Patience time.Duration
	// Transport, if not nil, wraps the transport of each HTTP connection: for logs and for counting.
	Transport func(http.RoundTripper) http.RoundTripper
}

// Amounts are what a container may use, or asks for: thousandths of a processor, and bytes. Zero is none.
type Amounts struct{ CPU, Memory int64 }

// Parent is an object of the cluster, such as the pod of the worker.
type Parent struct{ APIVersion, Kind, Name, UID string }

// Policy is what an installation allows. The zero value allows nothing.
type Policy struct {
	// Privileged, HostNetwork and NewPrivileges allow these fields of [driver.Security].
	Privileged, HostNetwork, NewPrivileges bool
	// HostPaths are the paths of the nodes, each with what is below it, that tasks may mount.
	HostPaths []string
	// Capabilities may be added, such as "NET_ADMIN"; "ALL" allows every one.
	Capabilities []string
	// ServiceAccounts may be asked for by a task's Placement, beside "default" and Config.ServiceAccount; "*" allows every one.
	ServiceAccounts []string
}

// Validate reports what is wrong with the configuration, as InvalidArgument, or nil.
func (c *Config) Validate() error {
	var errs []error
	invalid := func(format string, args ...any) {
		errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, format, args...))
	}
	for field, name := range map[string]string{"Owner": c.Owner, "Namespace": c.Namespace} {
		if name == "" {
			continue
		}
		if err := driver.ValidName(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	if c.HelperImage != "" {
		if _, err := reference.ParseNormalizedNamed(c.HelperImage); err != nil {
			invalid("HelperImage %q: %v", c.HelperImage, err)
		}
	}
	if _, err := tolerations(c.Tolerations); err != nil {
		errs = append(errs, err)
	}
	if min(c.Requests.CPU, c.Requests.Memory, c.Limits.CPU, c.Limits.Memory, c.VolumeSize, int64(c.Patience)) < 0 {
		invalid("Requests, Limits, VolumeSize and Patience must not be negative")
	}
	if p := c.Parent; p != (Parent{}) && (p.APIVersion == "" || p.Kind == "" || p.Name == "" || p.UID == "") {
		invalid("Parent: needs APIVersion, Kind, Name and UID")
	}
	if r := c.VolumeRoot; r != "" && (!path.IsAbs(r) || path.Clean(r) != r || r == "/") {
		invalid("VolumeRoot %q: must be absolute, clean, and not the root of the node", r)
	}
	if c.VolumeRoot != "" && c.StorageClass != "" {
		invalid("VolumeRoot and StorageClass: one of them makes the volumes")
	}
	if c.VolumeRoot != "" && c.Parent != (Parent{}) {
		invalid("VolumeRoot and Parent: the cluster would remove the claims of volumes, and nobody their directories")
	}
	for _, p := range c.Allow.HostPaths {
		if !path.IsAbs(p) {
			invalid("Allow.HostPaths %q: must be absolute", p)
		}
	}
	for host, mirror := range c.Mirrors {
		if rest := strings.TrimPrefix(mirror, "http://"); host == "" || rest == "" || strings.ContainsAny(rest, "/@ ") {
			invalid("Mirrors %q: %q must be host:port, or http://host:port", host, mirror)
		}
	}
	return errors.Join(errs...)
}

// WithDefaults returns the configuration with every empty field filled in whose default does not depend on the cluster.
func (c Config) WithDefaults() Config {
	c.Owner = cmp.Or(c.Owner, "default")
	c.HelperImage = cmp.Or(c.HelperImage, DefaultHelperImage)
	c.VolumeSize = cmp.Or(c.VolumeSize, 10<<30)
	c.Patience = cmp.Or(c.Patience, 30*time.Second)
	return c
}

// quantity writes an amount as Kubernetes has it.
func milli(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) }
func bytes(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
