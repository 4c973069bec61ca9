// Package origin says whom a request comes from, and keeps one of them from holding every connection.
package origin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the addresses of proxies that are believed when they say for whom they ask. The zero value believes nobody.
type Proxies []netip.Prefix

// ParseProxies reads addresses and networks, such as "10.0.0.7" and "10.0.0.0/8".
func ParseProxies(list []string) (Proxies, error) {
	var all Proxies
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			a = a.Unmap()
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: must be an address or a network, such as 10.0.0.7 or 10.0.0.0/8", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// Have reports whether an address is that of a proxy.
func (p Proxies) Have(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// Client returns the address that a request comes from: that of the connection, or, if that is a proxy's, the last one in X-Forwarded-For that is none. What stands before that
// anybody can have written.
func (p Proxies) Client(r *http.Request) string {
	host := hostOf(r.RemoteAddr)
	last, err := netip.ParseAddr(host)
	if err != nil || !p.Have(last) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		a, err := netip.ParseAddr(hop)
		if err != nil { // some proxies write the port too
			a, err = netip.ParseAddr(hostOf(hop))
		}
		if err != nil {
			break
		}
		if last = a.Unmap(); !p.Have(a) {
			break
		}
	}
	return last.String()
}

// Of returns what is counted as one client: an IPv4 address, or, since a machine has all of them, the 64-bit network of an IPv6 address.
func Of(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}

// hostOf returns an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// OfThisMachine reports whether a request's host is this machine by a name that nobody else can give: a page on the web may have a browser here ask under a name that leads here for a time.
func OfThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
