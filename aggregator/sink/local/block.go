package local

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

// blockBytes is how large a block may become before the next one is begun; its last line may go beyond.
const blockBytes = 64 << 10

// block is a part of a build's log. Of each line it has the seconds since that before it (or since 1970), the nanoseconds within that second, the length of the text, all as varints, and the text.
type block struct {
	data    []byte
	count   uint64
	seconds int64 // of the last line
}

// add adds a line.
func (b *block) add(l *sink.Line) {
	seconds := l.Time.Unix()
	b.data = binary.AppendVarint(b.data, seconds-b.seconds)
	b.data = binary.AppendUvarint(b.data, uint64(l.Time.Nanosecond()))
	b.data = binary.AppendUvarint(b.data, uint64(len(l.Text)))
	b.data = append(b.data, l.Text...)
	b.seconds = seconds
	b.count++
}

// errBlock is the error of a block that cannot be read.
var errBlock = errors.New("a block of the log is damaged")

// decode calls yield with each line of a block, whose text belongs to data, until that returns false.
func decode(data []byte, yield func(at time.Time, text []byte) bool) error {
	var seconds int64
	for len(data) > 0 {
		since, n := binary.Varint(data)
		if n <= 0 {
			return errBlock
		}
		data = data[n:]
		nanos, n := binary.Uvarint(data)
		if n <= 0 || nanos >= uint64(time.Second) {
			return errBlock
		}
		data = data[n:]
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return errBlock
		}
		data = data[n:]
		seconds += since
		if !yield(time.Unix(seconds, int64(nanos)).UTC(), data[:size:size]) {
			return nil
		}
		data = data[size:]
	}
	return nil
}
