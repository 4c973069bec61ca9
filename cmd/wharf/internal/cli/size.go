package cli

import (
	"fmt"
	"strconv"
	"strings"
)

// size is a flag in bytes, as a person writes it: 100000, 100MB, 2GiB.
type size int64

var units = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}

func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }
func (s *size) Type() string   { return "size" }
func (s *size) Set(text string) error {
	digits := strings.TrimRight(text, "BKMGTbkmgti ")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, known := units[strings.ToUpper(strings.TrimSpace(text[len(digits):]))]
	if err != nil || !known || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("must be a size such as 500KB, 100MiB or 2GiB")
	}
	*s = size(n * unit)
	return nil
}
