package wire

import (
	"encoding/binary"
	"errors"
	"time"
)

// Record is an entry of a task's log as the keeper stores it: a line, or a part of a long one.
type Record struct {
	Time    time.Time
	Box     int // index in Plan.Boxes
	Stderr  bool
	Partial bool
	Line    []byte
}

// A record is: a mark, flags, the container (2 bytes), the time (8), the length (4), and the line.
const (
	mark       = 0xA7
	headLength = 16
	flagStderr = 1
	flagPart   = 2
)

// MaxLine is the longest line of a record.
const MaxLine = 64 << 10

// ErrRecord says that what was read is not the beginning of a record.
var ErrRecord = errors.New("not the beginning of a record of the log")

// Append adds the record to b.
func (r *Record) Append(b []byte) []byte {
	var flags byte
	if r.Stderr {
		flags |= flagStderr
	}
	if r.Partial {
		flags |= flagPart
	}
	b = append(b, mark, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Box))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Line)))
	return append(b, r.Line...)
}

// ParseRecord takes the first record of b and returns its length; 0 if it is not whole yet. The line is a part of b.
func ParseRecord(b []byte) (r Record, n int, err error) {
	if len(b) > 0 && b[0] != mark {
		return r, 0, ErrRecord
	}
	if len(b) < headLength {
		return r, 0, nil
	}
	size := binary.BigEndian.Uint32(b[12:])
	if size > MaxLine {
		return r, 0, ErrRecord
	}
	n = headLength + int(size)
	if len(b) < n {
		return r, 0, nil
	}
	r = Record{
		Time: time.Unix(0, int64(binary.BigEndian.Uint64(b[4:]))).UTC(), Box: int(binary.BigEndian.Uint16(b[2:])),
		Stderr: b[1]&flagStderr != 0, Partial: b[1]&flagPart != 0, Line: b[headLength:n:n],
	}
	return r, n, nil
}
