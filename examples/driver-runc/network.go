package runc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// bridgeName is the bridge that all containers with a network are on, in all owners. It is made when it is first needed.
const bridgeName = "wharf-runc0"

// address is where a container is found: 100.64.0.0/10, which is nobody's on the internet (RFC 6598), has just as many addresses as Linux
// has process numbers. So who gets which needs no book. The bridge has the first, which is that of the first process.
func address(pid int) *net.IPNet {
	return &net.IPNet{IP: net.IPv4(100, 64|byte(pid>>16), byte(pid>>8), byte(pid)), Mask: net.CIDRMask(10, 32)}
}

// connect puts the network namespace of a process on the bridge, unless the task wants none.
func (t *task) connect(pid int) (disconnect func(), err error) {
	if t.Spec.Network.Mode == driver.NetworkNone {
		return func() {}, nil
	}
	bridge, err := t.bridge()
	if err != nil {
		return nil, fmt.Errorf("make the bridge %s: %w", bridgeName, err)
	}
	pair := netlink.NewLinkAttrs()
	pair.Name, pair.MasterIndex = fmt.Sprint("wharf-", pid), bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: pair, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("make the network interface: %w", err)
	}
	disconnect = func() { netlink.LinkDel(veth) } // the kernel does it as well, when the namespace is gone
	if err := errors.Join(netlink.LinkSetUp(veth), configure(pid)); err != nil {
		disconnect()
		return nil, fmt.Errorf("configure the network interface: %w", err)
	}
	return disconnect, nil
}

// configure sets up the container's end.
func configure(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := errors.Join(inside.AddrAdd(eth0, &netlink.Addr{IPNet: address(pid)}), inside.LinkSetUp(eth0)); err != nil {
		return err
	}
	return inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: address(1).IP})
}

// bridge returns the bridge, and sees to it that it leads out of the machine.
func (t *task) bridge() (netlink.Link, error) {
	l, err := lock(context.Background(), filepath.Join(t.Root, "network.lock"))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if bridge, err := netlink.LinkByName(bridgeName); err == nil {
		return bridge, nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	err = errors.Join(netlink.AddrReplace(bridge, &netlink.Addr{IPNet: address(1)}), netlink.LinkSetUp(bridge),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), wayOut("-A"))
	if err != nil {
		return nil, errors.Join(err, netlink.LinkDel(bridge))
	}
	return netlink.LinkByName(bridgeName)
}

// wayOut adds ("-A") or deletes ("-D") the rules that let containers out, under the machine's address.
func wayOut(do string) error {
	for _, rule := range [][]string{
		{"-t", "nat", do, "POSTROUTING", "-s", "100.64.0.0/10", "!", "-o", bridgeName, "-j", "MASQUERADE"},
		{do, "FORWARD", "-i", bridgeName, "-j", "ACCEPT"},
		{do, "FORWARD", "-o", bridgeName, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
	} {
		if out, err := exec.Command("iptables", append([]string{"-w"}, rule...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables %q: %w: %s", rule, err, out)
		}
	}
	return nil
}
