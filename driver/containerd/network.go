//go:build linux

package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/wharfci/wharf/driver"
)

// networks are the two CNI networks of a state directory.
type networks struct {
	cni           *libcni.CNIConfig
	shared, apart *libcni.NetworkConfigList
}

// of returns the network of a mode.
func (n *networks) of(mode driver.NetworkMode) *libcni.NetworkConfigList {
	if mode == driver.NetworkOwn {
		return n.apart
	}
	return n.shared
}

// subnets cuts the configured range in two.
func (c *Config) subnets() (halves [2]netip.Prefix, err error) {
	s := firstOf(c.Subnet, "10.87.0.0/16")
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() > 28 || p.Masked() != p {
		return halves, driver.WithClass(errdefs.ErrInvalidArgument, "Subnet %q: must be a range of IPv4 addresses of at least 16, such as 10.87.0.0/16", s)
	}
	upper := p.Addr().As4()
	bit := p.Bits()
	upper[bit/8] |= 0x80 >> (bit % 8)
	return [2]netip.Prefix{netip.PrefixFrom(p.Addr(), bit+1), netip.PrefixFrom(netip.AddrFrom4(upper), bit+1)}, nil
}

// networks returns the CNI networks; the plugins make the bridges when they are first used.
func (d *Driver) networks(ctx context.Context) (*networks, error) {
	return d.nets.Do(ctx, func(context.Context) (*networks, error) {
		for _, plugin := range []string{"bridge", "host-local", "firewall"} {
			if !slices.ContainsFunc(d.cfg.CNI, func(dir string) bool { _, err := exec.LookPath(filepath.Join(dir, plugin)); return err == nil }) {
				return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "no CNI plugin %s in %s: install them (Debian: apt-get install containernetworking-plugins)", plugin, strings.Join(d.cfg.CNI, ":"))
			}
		}
		halves, err := d.cfg.subnets()
		if err != nil {
			return nil, err
		}
		exec := &plugins{invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}}} // libcni makes one itself when it is first used, and races
		n := &networks{cni: libcni.NewCNIConfigWithCacheDir(d.cfg.CNI, filepath.Join(d.cfg.State, "cni"), exec)}
		sum := sha256.Sum256([]byte(d.cfg.State))
		if n.shared, err = d.conflist("wharf", fmt.Sprintf("wh%x", sum[:4]), halves[0]); err == nil {
			n.apart, err = d.conflist("wharf-own", fmt.Sprintf("wh%xo", sum[:4]), halves[1])
		}
		return n, err
	})
}

func (d *Driver) conflist(name, bridge string, subnet netip.Prefix) (*libcni.NetworkConfigList, error) {
	type object = map[string]any
	conf, err := json.Marshal(object{"cniVersion": "1.0.0", "name": name, "plugins": []object{
		{
			"type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": true,
			"ipam": object{
				"type": "host-local", "dataDir": filepath.Join(d.cfg.State, "ipam"),
				"ranges": [][]object{{{"subnet": subnet.String()}}}, "routes": []object{{"dst": "0.0.0.0/0"}},
			},
		},
		{"type": "firewall", "ingressPolicy": "same-bridge"},
	}})
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(conf)
}

// attachment is what is noted about a network namespace, beside it.
type attachment struct {
	Mode     driver.NetworkMode
	Begun    bool   // the plugins were called
	Address  string // IPv4; empty as long as it is not connected
	Hostname string
	DNS      []string
	Hosts    map[string]string
}

func (d *Driver) attachmentFile(uid string) string { return d.netnsFile(uid) + ".json" }

func (d *Driver) attachmentOf(uid string) (attachment, error) {
	var a attachment
	b, err := os.ReadFile(d.attachmentFile(uid))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a, err
}

func (d *Driver) note(uid string, a attachment) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return replace(d.attachmentFile(uid), b, 0o600)
}

// prepareNetwork makes a network namespace, whose network is connected later: that takes long, and what waits for its start needs none. What it has made when it fails is left to leaveNetwork.
func (d *Driver) prepareNetwork(ctx context.Context, uid string, spec driver.Network, hostname string) (attachment, error) {
	a := attachment{Mode: spec.Mode, Hostname: firstOf(spec.Hostname, hostname), DNS: spec.DNS, Hosts: spec.Hosts}
	if a.Mode != driver.NetworkNone {
		if _, err := d.networks(ctx); err != nil { // which says what is missing on this machine
			return a, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(d.netnsFile(uid)), 0o711); err != nil {
		return a, err
	}
	if err := d.note(uid, a); err != nil {
		return a, err
	}
	return a, makeNetns(d.netnsFile(uid))
}

// connectNetwork connects a network namespace, if it is to be and is not yet. Only one may do so at a time; a call that broke off is begun again.
func (d *Driver) connectNetwork(ctx context.Context, uid string, a attachment) (attachment, error) {
	if a.Mode == driver.NetworkNone || a.Address != "" {
		return a, nil
	}
	n, err := d.networks(ctx)
	if err != nil {
		return a, err
	}
	list := n.of(a.Mode)
	if a.Begun {
		if err := n.cni.DelNetworkList(ctx, list, d.runtimeConf(uid)); err != nil {
			return a, driver.WithClass(errdefs.ErrUnavailable, "take down a network that was not set up: %v", err)
		}
	}
	a.Begun = true
	if err := d.note(uid, a); err != nil {
		return a, err
	}
	res, err := connectTo(ctx, n.cni, list, d.runtimeConf(uid))
	if err != nil {
		return a, driver.WithClass(errdefs.ErrUnavailable, "set up the network: %v", err)
	}
	result, err := types100.GetResult(res)
	if err != nil {
		return a, err
	}
	if len(result.IPs) == 0 {
		return a, driver.WithClass(errdefs.ErrInternal, "the CNI plugins give the task no address")
	}
	if a.Mode == driver.NetworkOwn {
		if err := isolate(result); err != nil {
			return a, err
		}
	}
	a.Address = result.IPs[0].Address.IP.String()
	return a, d.note(uid, a)
}

// connectTask connects a task that is about to be started, unless it is in a sandbox, and writes its address to where it was left out.
func (d *Driver) connectTask(ctx context.Context, h handle, c containers.Container) error {
	uid := c.Labels[labelNetwork]
	if uid == "" || uid != c.Labels[labelUID] {
		return nil
	}
	a, err := d.attachmentOf(uid)
	if err != nil {
		return err
	}
	if a, err = d.connectNetwork(ctx, uid, a); err != nil || a.Address == "" {
		return err
	}
	file := filepath.Join(d.taskDir(h), "hosts")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, after, unknown := strings.Cut(string(text), localHosts+noAddress+"\t")
	if !unknown {
		return nil // it was written before
	}
	return replace(file, []byte(before+localHosts+a.Address+"\t"+after), 0o644)
}

// replacing is behind the name of a file that is to take another's place.
const replacing = ".new"

// replace writes a file whole or not at all.
func replace(file string, text []byte, mode os.FileMode) error {
	if err := os.WriteFile(file+replacing, text, mode); err != nil {
		return err
	}
	return os.Rename(file+replacing, file)
}

// connectTo runs the plugins. Those that are the first on a machine to make the firewall's chains get into each other's way; they begin again.
func connectTo(ctx context.Context, cni *libcni.CNIConfig, list *libcni.NetworkConfigList, conf *libcni.RuntimeConf) (types.Result, error) {
	for tries := 5; ; tries-- {
		res, err := cni.AddNetworkList(ctx, list, conf)
		if err == nil || tries == 0 || !strings.Contains(err.Error(), "File exists") {
			return res, err
		}
		if err := cni.DelNetworkList(ctx, list, conf); err != nil {
			return nil, err
		}
	}
}

func (d *Driver) runtimeConf(uid string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: "wharf-" + uid, NetNS: d.netnsFile(uid), IfName: "eth0"}
}

// isolate keeps the host's end of a connection from exchanging anything with others on its bridge that are isolated too.
func isolate(result *types100.Result) error {
	for _, i := range result.Interfaces {
		port := filepath.Join("/sys/class/net", i.Name, "brport", "isolated")
		if i.Sandbox != "" {
			continue
		}
		if err := os.WriteFile(port, []byte("1"), 0); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("isolate the task on its bridge: %w", err)
		}
	}
	return driver.WithClass(errdefs.ErrInternal, "the CNI plugin does not name the host's end of the connection")
}

// leaveNetwork removes a namespace and its network. One that is not there is no error.
func (d *Driver) leaveNetwork(ctx context.Context, uid string) error {
	if err := os.RemoveAll(d.attachmentFile(uid) + replacing); err != nil { // who wrote it may have died over it
		return err
	}
	a, err := d.attachmentOf(uid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || a.Mode != driver.NetworkNone && (a.Begun || a.Address != "") {
		n, unusable := d.networks(ctx)
		if unusable != nil {
			return unusable
		}
		rt := d.runtimeConf(uid)
		if !isNetns(rt.NetNS) {
			rt.NetNS = ""
		}
		from := []*libcni.NetworkConfigList{n.of(a.Mode)}
		if err != nil { // nobody knows which
			from = []*libcni.NetworkConfigList{n.shared, n.apart}
		}
		for _, list := range from {
			if err := n.cni.DelNetworkList(ctx, list, rt); err != nil {
				return fmt.Errorf("take down the network: %w", err)
			}
		}
	}
	if err := dropNetns(d.netnsFile(uid)); err != nil {
		return err
	}
	if err := os.Remove(d.attachmentFile(uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// taskNetwork is the network of one task.
type taskNetwork struct {
	uid      string // whose namespace it is: the task's own or a sandbox's
	hostname string
}

// joinNetwork makes the task's network or finds its sandbox, and writes the files that tell of it.
func (m *maker) joinNetwork(ctx context.Context) error {
	var a attachment
	var err error
	switch {
	case m.spec.Sandbox != "":
		if m.net.uid, err = m.sandboxUID(m.spec.Sandbox); err != nil {
			return err
		}
		a, err = m.attachmentOf(m.net.uid)
	default:
		m.net.uid = m.uid
		a, err = m.prepareNetwork(ctx, m.uid, m.spec.Network, m.spec.Name)
	}
	if err != nil {
		return err
	}
	m.net.hostname = a.Hostname
	return m.writeNetworkFiles(a)
}

// localHosts is what every file of hosts begins with. The task's own address is next.
const localHosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

// noAddress stands for the address of a task that is not connected.
const noAddress = "127.0.0.1"

func (m *maker) writeNetworkFiles(a attachment) error {
	var hosts strings.Builder
	hosts.WriteString(localHosts)
	fmt.Fprintf(&hosts, "%s\t%s\n", firstOf(a.Address, noAddress), a.Hostname)
	for _, s := range m.spec.Services {
		fmt.Fprintf(&hosts, "127.0.0.1\t%s\n", s.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Hosts)) {
		fmt.Fprintf(&hosts, "%s\t%s\n", a.Hosts[name], name)
	}
	for name, text := range map[string]string{"hosts": hosts.String(), "hostname": a.Hostname + "\n", "resolv.conf": resolvConf(a)} {
		if err := os.WriteFile(filepath.Join(m.taskDir(m.h), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// resolvConf is the host's, unless the task names its own servers. A resolver that listens on the host's loopback is out
// of a task's reach; those behind it are where systemd keeps them.
func resolvConf(a attachment) string {
	if a.Mode == driver.NetworkNone {
		return ""
	}
	var b strings.Builder
	for _, s := range a.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if b.Len() > 0 {
		return b.String()
	}
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := os.ReadFile(file)
		if err == nil && !strings.Contains(string(text), "nameserver 127.") && !strings.Contains(string(text), "nameserver ::1") {
			return string(text)
		}
	}
	return ""
}

// rejoinNetwork refuses a container whose network a restart of the machine has taken.
func (d *Driver) rejoinNetwork(c containers.Container) error {
	uid := c.Labels[labelNetwork]
	if uid == "" || isNetns(d.netnsFile(uid)) {
		return nil
	}
	if uid != c.Labels[labelUID] {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "the task's sandbox is gone; make the task again")
	}
	return driver.WithClass(errdefs.ErrFailedPrecondition, "the task's network is gone, as after a restart of the machine; make the task again")
}
