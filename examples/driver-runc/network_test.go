package runc

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// tidyNetwork removes at the end what the driver makes once and keeps.
func tidyNetwork(t *testing.T) {
	t.Cleanup(func() {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return // nobody has needed it
		}
		if err := errors.Join(netlink.LinkDel(bridge), wayOut("-D")); err != nil {
			t.Error(err)
		}
	})
}

// TestNetworkLeadsOut lets a container reach this machine at an address that is not on the bridge: the suite looks only at who must not
// be reached.
func TestNetworkLeadsOut(t *testing.T) {
	tidyNetwork(t)
	d, err := New(Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	images, err := drivertest.BuildImages(t.Context(), drivertest.ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	if err := d.Load(t.Context(), images); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", outsideAddress(t)+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := make(chan net.Addr, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		from <- c.RemoteAddr()
		io.Copy(c, c)
		c.Close()
	}()
	id, err := d.Create(t.Context(), driver.TaskSpec{Name: "out", Container: driver.Container{
		Image: drivertest.Image, Args: []string{"connect", l.Addr().String(), "hello"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove(t.Context(), id)
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || !res.Succeeded() {
		t.Errorf("the container %v, %v; want it to reach %s", res, err, l.Addr())
		return
	}
	t.Logf("the container came from %s", <-from)
}

// outsideAddress is an address of this machine that is not that of the bridge; 127.0.0.1 would be the container itself.
func outsideAddress(t *testing.T) string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() && !address(1).Contains(ip.IP) {
			return ip.IP.String()
		}
	}
	// Nothing but the machine itself: an address that is not the bridge's own, on loopback.
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	more := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 77), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrAdd(lo, more); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.AddrDel(lo, more) })
	return more.IP.String()
}
