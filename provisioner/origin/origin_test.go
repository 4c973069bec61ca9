package origin_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/wharfci/wharf/provisioner/origin"
)

func TestClient(t *testing.T) {
	proxies, err := origin.ParseProxies([]string{"10.0.0.0/8", "192.0.2.7", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"direct":                {"198.51.100.1:40000", nil, "198.51.100.1"},
		"a liar":                {"198.51.100.1:40000", []string{"203.0.113.9"}, "198.51.100.1"},
		"a proxy":               {"10.1.2.3:40000", []string{"203.0.113.9"}, "203.0.113.9"},
		"one address":           {"192.0.2.7:1", []string{"203.0.113.9"}, "203.0.113.9"},
		"two proxies":           {"10.1.2.3:40000", []string{"203.0.113.9, 10.9.9.9"}, "203.0.113.9"},
		"two headers":           {"10.1.2.3:40000", []string{"203.0.113.9", "10.9.9.9"}, "203.0.113.9"},
		"a liar before a proxy": {"10.1.2.3:40000", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		"a proxy that is silent": {
			"10.1.2.3:40000", nil, "10.1.2.3"},
		"no address":     {"10.1.2.3:40000", []string{"203.0.113.9, unknown"}, "10.1.2.3"},
		"with a port":    {"10.1.2.3:40000", []string{"203.0.113.9:555"}, "203.0.113.9"},
		"IPv6":           {"[fd00::1]:40000", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 with port": {"[fd00::1]:40000", []string{"[2001:db8::1]:7"}, "2001:db8::1"},
		"mapped":         {"[::ffff:10.1.2.3]:40000", []string{"203.0.113.9"}, "203.0.113.9"},
		"no network":     {"@", []string{"203.0.113.9"}, "@"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
			if got := proxies.Client(r); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	for _, wrong := range []string{"", "proxy", "10.0.0.0/33", "::ffff:10.0.0.0/104", "fe80::1%eth0"} {
		if _, err := origin.ParseProxies([]string{wrong}); err == nil {
			t.Errorf("%q is taken for an address", wrong)
		}
	}
}

func TestOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "@": "@",
	} {
		if got := origin.Of(address); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}

// TestListen: a client has as many connections as it may, and one of another address is still answered.
func TestListen(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan string, 100)
	l := origin.Listen(inner, origin.Bounds{All: 5, Each: 3, Refused: func(a string) { refused <- a }})
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("x"))
			accepted <- c
		}
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	answered := func(c net.Conn) bool {
		b, err := io.ReadAll(io.LimitReader(c, 1))
		return err == nil && len(b) == 1
	}
	var held []net.Conn
	for range 3 {
		dial("127.0.0.1")
		held = append(held, <-accepted)
	}
	for range 20 {
		if answered(dial("127.0.0.1")) {
			t.Error("a fourth connection of one address is answered")
		}
	}
	if a := <-refused; a != "127.0.0.1" || len(refused) > 0 {
		t.Errorf("told of %s, and %d times more", a, len(refused))
	}
	other := dial("127.0.0.2")
	held = append(held, <-accepted)
	if !answered(other) {
		t.Error("another address is not answered")
	}
	held[0].Close()
	held[0].Close() // which counts once
	again := dial("127.0.0.1")
	held[0] = <-accepted
	if !answered(again) {
		t.Error("after one of its connections has ended, the address is not answered")
	}
	if answered(dial("127.0.0.1")) {
		t.Error("a connection that was closed twice counts twice")
	}
	for _, c := range held {
		c.Close()
	}
}

// TestListenProxy: a proxy has connections for many.
func TestListenProxy(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := origin.ParseProxies([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l := origin.Listen(inner, origin.Bounds{Each: 1, Proxies: proxies})
	defer l.Close()
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
	}
}
