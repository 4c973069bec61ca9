package fake

import "github.com/wharfci/wharf/driver"

// bits are the numbers that Linux gives to capabilities.
var bits = map[string]uint{
	"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
	"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "IPC_LOCK": 14, "SYS_CHROOT": 18, "SYS_PTRACE": 19, "SYS_ADMIN": 21,
	"SYS_NICE": 23, "SYS_RESOURCE": 24, "SYS_TIME": 25, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31, "SYSLOG": 34,
}

// everything is what a privileged container has: the 41 capabilities of Linux 5.9 and newer.
const everything = 1<<41 - 1

// capabilities are those that root has in a container.
func capabilities(s driver.Security) uint64 {
	if s.Privileged {
		return everything
	}
	var mask uint64
	names := s.AddCapabilities
	if !s.DropAll {
		names = append(names[:len(names):len(names)], driver.DefaultCapabilities...)
	}
	for _, name := range names {
		if bit, ok := bits[name]; ok {
			mask |= 1 << bit
		}
	}
	return mask
}

// room reports whether the limit of processes allows another one.
func (b *box) room() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.spec.Resources.PIDs
	return limit == 0 || int64(len(b.procs)) < limit
}
