//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Cursor returns the place after the last entry: the task, and the offset in each of its files that is not at its beginning.
func (r *reader) Cursor() driver.Cursor {
	var b strings.Builder
	b.WriteString(r.h.uid)
	for i, s := range r.streams {
		if n := s.offset(); n > 0 {
			fmt.Fprintf(&b, ",%d:%d", i, n)
		}
	}
	return driver.Cursor(b.String())
}

// seek sets the streams to where a cursor is.
func (r *reader) seek(c driver.Cursor) error {
	if c == "" {
		return nil
	}
	bad := driver.WithClass(errdefs.ErrInvalidArgument, "the cursor %.100q is not one of this task", c)
	parts := strings.Split(string(c), ",")
	if parts[0] != r.h.uid {
		return bad
	}
	for _, p := range parts[1:] {
		index, offset, ok := strings.Cut(p, ":")
		i, err := strconv.Atoi(index)
		n, err2 := strconv.ParseInt(offset, 10, 64)
		if !ok || err != nil || err2 != nil || i < 0 || i >= len(r.streams) || n < 0 {
			return bad
		}
		info, err := os.Stat(r.streams[i].file)
		if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() < n {
			return bad
		}
		if err != nil {
			return err
		}
		r.streams[i].read = n
	}
	return nil
}
