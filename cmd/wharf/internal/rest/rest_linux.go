package rest

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dropProgram drops the pages of the program's file that are mapped for reading or for execution and have never been written to, so that they can
// be read again at any time. Where the kernel says no, they stay.
func dropProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	var span string // of the mapping that the lines are about, if it is one of these
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 4 && strings.Contains(fields[0], "-"): // from-to, rights, offset, device, inode, path
			span = ""
			if fields[len(fields)-1] == program && (fields[1] == "r-xp" || fields[1] == "r--p") {
				span = fields[0]
			}
		case fields[0] == "Anonymous:" && fields[1] != "0", fields[0] == "Swap:" && fields[1] != "0":
			span = "" // it has pages that differ from the file
		case fields[0] == "VmFlags:" && span != "": // the last line
			drop(span)
		}
	}
}

func drop(span string) {
	low, high, _ := strings.Cut(span, "-")
	from, err1 := strconv.ParseUint(low, 16, 64)
	to, err2 := strconv.ParseUint(high, 16, 64)
	if err1 == nil && err2 == nil {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED)
	}
}
