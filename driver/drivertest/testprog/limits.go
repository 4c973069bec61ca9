package testprog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// linger does nothing for SECONDS.
func linger(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err == nil {
		s.Linger(time.Duration(n[0]) * time.Second)
	}
	return 0, err
}

// burn keeps every processor busy for SECONDS, and prints how many milliseconds of processor time it got.
func burn(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintln(s.Stdout(), s.Burn(time.Duration(n[0])*time.Second).Milliseconds())
	return 0, err
}

// fork starts N children that stay, and prints how many there are.
func fork(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err != nil {
		return 0, err
	}
	for range n[0] {
		if _, err := s.Spawn("pause"); err != nil {
			return 0, err
		}
	}
	_, err = fmt.Fprintln(s.Stdout(), "forked", n[0])
	return 0, err
}

// capabilityNames are the Linux capabilities in the order of their bits.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
	SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
	MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// CapabilityMask returns the bits of capabilities, given by name as driver.DefaultCapabilities has them.
func CapabilityMask(names []string) uint64 {
	var mask uint64
	for _, name := range names {
		if i := slices.Index(capabilityNames, name); i >= 0 {
			mask |= 1 << i
		}
	}
	return mask
}

// capabilities prints the names of the capabilities that the process has, sorted, in one line.
func capabilities(s System, _ []string) (int, error) {
	mask, err := s.Capabilities()
	if err != nil {
		return 0, err
	}
	var names []string
	for i, name := range capabilityNames {
		if mask&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	_, err = fmt.Fprintln(s.Stdout(), strings.Join(names, " "))
	return 0, err
}

// euid prints the user that the process acts as, which differs from that of "id" in a set-uid program.
func euid(s System, _ []string) (int, error) {
	_, err := fmt.Fprintln(s.Stdout(), s.EUID())
	return 0, err
}
