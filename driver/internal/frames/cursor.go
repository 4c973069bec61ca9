package frames

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// cursorPrefix says which form a cursor has.
const cursorPrefix = "1:"

// Place is how much of a container's streams was delivered.
type Place struct {
	Name string
	At   Positions
}

// FormatCursor writes how much of each container's streams was delivered:
// "1:CONTAINER;NAME=LINES.BYTES,LINES.BYTES;…".
func FormatCursor(container string, places []Place) driver.Cursor {
	b := []byte(cursorPrefix + container[:12])
	for _, s := range places {
		out, err := s.At[0], s.At[1]
		if out == (position{}) && err == (position{}) {
			continue
		}
		b = fmt.Appendf(b, ";%s=%d.%d,%d.%d", s.Name, out.lines, out.bytes, err.lines, err.bytes)
	}
	return driver.Cursor(b)
}

// ParseCursor reads a cursor of the task whose main container is given.
func ParseCursor(c driver.Cursor, container string) (map[string]Positions, error) {
	if c == "" {
		return nil, nil
	}
	bad := driver.WithClass(errdefs.ErrInvalidArgument, "the cursor %q is not one of this task", c)
	text, ok := strings.CutPrefix(string(c), cursorPrefix)
	fields := strings.Split(text, ";")
	if !ok || fields[0] != container[:12] || len(c) > 4096 {
		return nil, bad
	}
	from := map[string]Positions{}
	for _, f := range fields[1:] {
		name, list, ok := strings.Cut(f, "=")
		streams := strings.Split(list, ",")
		if !ok || len(streams) != 2 {
			return nil, bad
		}
		var p Positions
		for i, s := range streams {
			lines, bytes, _ := strings.Cut(s, ".")
			var err1, err2 error
			p[i].lines, err1 = strconv.ParseInt(lines, 10, 64)
			p[i].bytes, err2 = strconv.ParseInt(bytes, 10, 64)
			if err1 != nil || err2 != nil || p[i].lines < 0 || p[i].bytes < 0 {
				return nil, bad
			}
		}
		from[name] = p
	}
	return from, nil
}
