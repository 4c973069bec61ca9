//go:build linux

package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

const cgroups = "/sys/fs/cgroup"

// Stats measures a running task. See [driver.Statser].
func (d *Driver) Stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	ctx, done := d.begin(ctx)
	defer done()
	u, err := d.stats(ctx, id)
	return u, driver.Wrap(ctx, "stats", string(id), classify(err))
}

func (d *Driver) stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Usage{}, err
	}
	s, err := d.inspect(ctx, h, h.container)
	if err != nil {
		return driver.Usage{}, err
	}
	if s.phase != phaseRunning {
		return driver.Usage{}, driver.WithClass(errdefs.ErrFailedPrecondition, "the task does not run")
	}
	sum := d.usage(h.container)
	if s.Labels[labelMembers] != "" {
		g, err := d.group(ctx, h)
		if err != nil {
			return driver.Usage{}, err
		}
		for _, c := range g.services {
			u := d.usage(c.ID)
			sum.CPU, sum.Memory, sum.PIDs = sum.CPU+u.CPU, sum.Memory+u.Memory, sum.PIDs+u.PIDs
		}
	}
	return sum, nil
}

// usage reads a container's control groups, of either version. One that has ended uses nothing.
func (d *Driver) usage(id string) driver.Usage {
	group := d.cgroup(id)
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		dir := filepath.Join(cgroups, group)
		return driver.Usage{
			CPU:    time.Duration(field(dir, "cpu.stat", "usage_usec ")) * time.Microsecond,
			Memory: field(dir, "memory.current", "") - field(dir, "memory.stat", "file "),
			PIDs:   field(dir, "pids.current", ""),
		}
	}
	memory := filepath.Join(cgroups, "memory", group)
	return driver.Usage{
		CPU:    time.Duration(field(filepath.Join(cgroups, "cpuacct", group), "cpuacct.usage", "")),
		Memory: field(memory, "memory.usage_in_bytes", "") - field(memory, "memory.stat", "total_cache "),
		PIDs:   field(filepath.Join(cgroups, "pids", group), "pids.current", ""),
	}
}

// field is the number behind a word at the beginning of a line; 0 if it is not there.
func field(dir, file, word string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

// swapAccounted reports whether the kernel can limit memory and swap together.
func swapAccounted() bool {
	for _, file := range []string{"memory/memory.memsw.limit_in_bytes", "cgroup.controllers"} {
		if _, err := os.Stat(filepath.Join(cgroups, file)); err == nil {
			return true
		}
	}
	return false
}
