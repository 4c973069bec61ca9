package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// seqPrefix is what every line behind the header begins with.
var seqPrefix = []byte(`{"seq":`)

// seek goes on behind the header to the record that holds the entry behind number after, or to the end of the journal, by
// halving the part of the file in which it must begin.
func (r *Reader) seek(after uint64) error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	// The record that begins at low is not behind the one that is looked for; none that begins at high or later is not.
	low, high := r.done(), info.Size()
	for high-low > 64<<10 {
		at, seq, err := r.lineBehind(low + (high-low)/2)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("journal %s: %w", r.dir, err)
		}
		if err != nil || at >= high || seq > after+1 {
			high = low + (high-low)/2
		} else {
			low, r.seq = at, seq-1
		}
	}
	r.off, r.buf = low, nil
	return nil
}

// lineBehind returns where the first line begins that begins behind offset, and the number of its first entry.
func (r *Reader) lineBehind(offset int64) (at int64, seq uint64, err error) {
	var buf []byte
	for size := int64(8 << 10); size <= maxLine; size *= 8 {
		buf = make([]byte, size)
		n, err := r.file.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		start := bytes.IndexByte(buf[:n], '\n') + 1
		rest := buf[start:n]
		if start > 0 && bytes.HasPrefix(rest, seqPrefix) {
			digits, _, found := bytes.Cut(rest[len(seqPrefix):], []byte{','})
			if seq, err := strconv.ParseUint(string(digits), 10, 64); found && err == nil {
				return offset + int64(start), seq, nil
			}
		}
		if int64(n) < size {
			return 0, 0, io.EOF
		}
	}
	return 0, 0, errors.New("there is no line where one should be")
}
