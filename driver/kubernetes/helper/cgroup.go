//go:build linux

package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// The control group of the container, as it sees it: version 2, or version 1 with a directory for each controller.
const cgroup = "/sys/fs/cgroup/"

// field finds "name value" in a file of a control group.
func field(file, name string) (int64, bool) {
	text, err := os.ReadFile(cgroup + file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == name {
			n, err := strconv.ParseInt(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func value(file string) (int64, bool) {
	text, err := os.ReadFile(cgroup + file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// oomKills counts how many processes of the container the kernel has killed for want of memory.
func oomKills() int64 {
	if n, ok := field("memory.events", "oom_kill"); ok {
		return n
	}
	n, _ := field("memory/memory.oom_control", "oom_kill")
	return n
}

// usage is what the container uses now.
func usage() wire.Answer {
	var u wire.Usage
	if current, ok := value("memory.current"); ok {
		cache, _ := field("memory.stat", "inactive_file")
		cpu, _ := field("cpu.stat", "usage_usec")
		u.Memory, u.CPU = max(current-cache, 0), time.Duration(cpu)*time.Microsecond
		u.PIDs, _ = value("pids.current")
	} else {
		current, ok := value("memory/memory.usage_in_bytes")
		if !ok {
			return fail(wire.Other, "the container does not see its control group in %s", cgroup)
		}
		cache, _ := field("memory/memory.stat", "total_inactive_file")
		cpu, ok := value("cpuacct/cpuacct.usage")
		if !ok {
			cpu, _ = value("cpu,cpuacct/cpuacct.usage")
		}
		u.Memory, u.CPU = max(current-cache, 0), time.Duration(cpu)
		u.PIDs, _ = value("pids/pids.current")
	}
	if u.PIDs > 1 {
		u.PIDs-- // the helper
	}
	return wire.Answer{Usage: &u}
}
