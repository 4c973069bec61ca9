//go:build unix

package main

import (
	"os"
	"syscall"
)

// maxRSS is the peak of resident memory in bytes.
func maxRSS(ps *os.ProcessState) int64 {
	usage, ok := ps.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10 // Linux counts in KiB
}
