package testprog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func (*osSystem) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

// Dial gives up after three seconds: a firewall that drops packets does not answer.
func (*osSystem) Dial(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 3*time.Second)
}

func (*osSystem) Addresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	var found []string
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			found = append(found, ip.IP.String())
		}
	}
	return found, err
}

func (*osSystem) Lookup(host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	slices.Sort(found)
	return slices.Compact(found), err
}

func (*osSystem) ServeNames(name, address string, ready func()) error {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	defer c.Close()
	ready()
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if answer := answerName(buf[:n], name, ip); answer != nil {
			if _, err := c.WriteTo(answer, from); err != nil {
				return err
			}
		}
	}
}

// answerName answers a question for the IPv4 address of a name (RFC 1035, section 4). To another question about the
// name there is no answer, and another name does not exist. Nil is for what is no question.
func answerName(question []byte, name string, ip netip.Addr) []byte {
	const header = 12
	if len(question) < header || question[2]&0x80 != 0 {
		return nil
	}
	length := bytes.IndexByte(question[header:], 0) // the name's end
	if length < 0 || len(question) < header+length+5 {
		return nil
	}
	var wanted []byte
	for _, label := range strings.Split(name, ".") {
		wanted = append(append(wanted, byte(len(label))), label...)
	}
	end := header + length + 5 // the type and the class follow the name
	answer := slices.Clone(question[:end])
	binary.BigEndian.PutUint16(answer[2:], 0x8580) // an answer, with authority, also to recursive questions
	copy(answer[6:], make([]byte, 6))              // no records but the question
	binary.BigEndian.PutUint16(answer[4:], 1)
	switch {
	case !bytes.EqualFold(question[header:header+length], wanted):
		answer[3] |= 3 // no such name
	case binary.BigEndian.Uint16(question[end-4:]) == 1:
		answer[7] = 1
		answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		answer = append(answer, ip.AsSlice()...)
	}
	return answer
}

func (*osSystem) Linger(d time.Duration) { time.Sleep(d) }

func (*osSystem) Burn(d time.Duration) time.Duration {
	end := time.Now().Add(d)
	done := make(chan struct{})
	for range runtime.NumCPU() {
		go func() {
			for time.Now().Before(end) {
			}
			done <- struct{}{}
		}()
	}
	for range runtime.NumCPU() {
		<-done
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func (*osSystem) Capabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no capabilities")
}

func (*osSystem) EUID() int { return os.Geteuid() }
