package kubernetes

import (
	"context"
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/version"

	"github.com/wharfci/wharf/driver"
)

// Capabilities says what this driver can do on this cluster. See [driver.Driver]. The platform is that of the API server's machine: which the nodes have, a
// user of one namespace cannot find out.
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	ctx, done := d.begin(ctx)
	defer done()
	caps, err := d.capabilities(ctx)
	return caps, driver.Wrap(ctx, "capabilities", "", classify(err))
}

func (d *Driver) capabilities(ctx context.Context) (driver.Capabilities, error) {
	return d.caps.Do(ctx, func(ctx context.Context) (driver.Capabilities, error) {
		text, err := d.api.CoreV1().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
		if err != nil {
			return driver.Capabilities{}, err
		}
		var v version.Info
		if err := json.Unmarshal(text, &v); err != nil {
			return driver.Capabilities{}, err
		}
		arch := "amd64"
		if _, a, ok := strings.Cut(v.Platform, "/"); ok {
			arch = a
		}
		allow := d.cfg.Allow
		return driver.Capabilities{
			Runtime: "kubernetes " + strings.TrimPrefix(v.GitVersion, "v"), OS: "linux", Arch: arch,
			Exec: true, Dial: true, Events: true, Stats: true, Init: true, Services: true, DNS: true, Hosts: true, Hostname: true,
			VolumeSubPath: true, CPULimit: true, MemoryLimit: true, Secrets: true, Placement: true,
			Privileged: allow.Privileged, HostNetwork: allow.HostNetwork, NewPrivileges: allow.NewPrivileges,
			HostPaths: len(allow.HostPaths) > 0, AddCapabilities: len(allow.Capabilities) > 0,
		}, nil
	})
}
