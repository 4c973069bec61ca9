// Package frames reads the output of containers in the form in which Docker, and Podman after it, hand it out: frames that tell the
// two streams apart. It counts what was delivered, so that a reader goes on elsewhere without a loss, and proves at
// the end that nothing is missing.
package frames

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/wharfci/wharf/driver"
)

// messageSize is the length at which the runtime cuts what it logs. A message of its log that is shorter,
// and has no newline, is the end of a line all the same: the "local" log driver loses the newline of
// lines that were cut.
const messageSize = 16 << 10

// window is how many lines, at the end of a log, are remembered to be compared; heads at its beginning.
const window, heads = 128, 16

var seed = maphash.MakeSeed()

// position is a place in a stream: whole lines, and bytes of the line after them.
type position struct{ lines, bytes int64 }

// Positions are those of stdout and stderr.
type Positions [2]position

// Parser takes apart what the runtime sends: frames of eight bytes of header (the stream, and the length of what
// follows) and output. From a live stream a frame holds any piece of output; from a log, one message.
type Parser struct {
	messages bool // frames are messages of a log
	stamps   bool // and begin with the time

	header [8]byte
	have   int // bytes of header
	remain int // bytes of the frame that are to come
	stream driver.Stream
	size   int  // of the message so far
	ended  bool // its last byte so far was a newline
	stamp  [64]byte
	nstamp int // bytes of stamp; -1 when it is complete
	time   time.Time
	frames int // begun so far

	lines [2]line
}

// line is what is known of one stream.
type line struct {
	buf     []byte // of the line that is not complete
	pos     position
	skip    position // still to be left out
	last    time.Time
	hash    maphash.Hash // of the parts of a line that were delivered
	known   int          // of the lines before pos, how many hashes are right
	tail    [window]uint64
	head    [heads]uint64
	started position // where the reader began
}

// Restart prepares the Parser for another stream of the same output, of which it leaves out
// what was delivered.
func (p *Parser) Restart(messages, stamps bool) {
	p.messages, p.stamps = messages, stamps
	p.have, p.remain = 0, 0
	for i := range p.lines {
		l := &p.lines[i]
		l.buf, l.skip = l.buf[:0], l.pos
	}
}

// Began reports whether something was read, of this stream or one before.
func (p *Parser) Began() bool { return p.frames > 0 }

// Moved reports whether something of the first stream was delivered.
func (p *Parser) Moved() bool { return p.lines[0].pos != p.lines[0].started }

// Positions returns how much was delivered.
func (p *Parser) Positions() Positions { return Positions{p.lines[0].pos, p.lines[1].pos} }

// Begin sets where to begin. It is called once, before all else.
func (p *Parser) Begin(at Positions) {
	for i := range p.lines {
		l := &p.lines[i]
		l.hash.SetSeed(seed)
		l.pos, l.skip, l.started = at[i], at[i], at[i]
	}
}

// Next takes bytes from data until it has an entry.
func (p *Parser) Next(data *[]byte, at time.Time) (driver.LogEntry, bool) {
	for len(*data) > 0 {
		if p.remain == 0 {
			if !p.frame(data) {
				continue
			}
			if p.remain == 0 { // an empty frame
				if e, ok := p.message(at); ok {
					return e, true
				}
			}
			continue
		}
		if p.stamps && p.nstamp >= 0 {
			p.readStamp(data)
			if p.remain == 0 {
				if e, ok := p.message(at); ok {
					return e, true
				}
			}
			continue
		}
		if p.stamps {
			at = p.time
		}
		if e, ok := p.content(data, at); ok {
			return e, true
		}
	}
	return driver.LogEntry{}, false
}

// frame reads a header, and reports whether it is complete.
func (p *Parser) frame(data *[]byte) bool {
	n := copy(p.header[p.have:], *data)
	*data = (*data)[n:]
	if p.have += n; p.have < len(p.header) {
		return false
	}
	p.have, p.size, p.ended, p.nstamp = 0, 0, false, 0
	p.frames++
	p.remain = int(binary.BigEndian.Uint32(p.header[4:]))
	p.stream = driver.Stdout
	if p.header[0] == 2 {
		p.stream = driver.Stderr
	}
	return true
}

// readStamp reads the time at the beginning of a message, up to and with the space behind it.
func (p *Parser) readStamp(data *[]byte) {
	for len(*data) > 0 && p.remain > 0 {
		c := (*data)[0]
		*data = (*data)[1:]
		p.remain--
		if c == ' ' || p.nstamp == len(p.stamp) {
			if t, err := time.Parse(time.RFC3339Nano, string(p.stamp[:p.nstamp])); err == nil {
				p.time = t
			}
			p.nstamp = -1
			return
		}
		p.stamp[p.nstamp] = c
		p.nstamp++
	}
}

// content takes output up to the end of a line, of the frame or of data, whichever comes first.
func (p *Parser) content(data *[]byte, at time.Time) (driver.LogEntry, bool) {
	b := (*data)[:min(p.remain, len(*data))]
	i := bytes.IndexByte(b, '\n')
	end := i >= 0
	if end {
		b = b[:i]
	}
	l := &p.lines[p.stream-1]
	used, out, emit, partial := l.take(b, end)
	if end && used == len(b) && !partial {
		used++ // the newline
		p.ended = true
	} else if used > 0 {
		p.ended = false
	}
	*data = (*data)[used:]
	p.remain -= used
	p.size += used
	if emit {
		return p.entry(l, out, partial, at), true
	}
	if p.remain == 0 {
		return p.message(at)
	}
	return driver.LogEntry{}, false
}

// message is called at the end of a frame: in a log, that may be the end of a line.
func (p *Parser) message(at time.Time) (driver.LogEntry, bool) {
	if !p.messages || p.ended || p.size >= messageSize {
		return driver.LogEntry{}, false
	}
	if p.stamps && !p.time.IsZero() {
		at = p.time
	}
	p.ended = true
	l := &p.lines[p.stream-1]
	_, out, emit, _ := l.take(nil, true)
	if !emit {
		return driver.LogEntry{}, false
	}
	return p.entry(l, out, false, at), true
}

// take adds bytes to a line, and says how many of them it used and whether there is something to deliver: the
// line if it has ended, or a part of one that is too long.
func (l *line) take(b []byte, end bool) (used int, out []byte, emit, partial bool) {
	if l.skip.lines > 0 {
		if end {
			l.skip.lines--
		}
		return len(b), nil, false, false
	}
	if n := int(min(l.skip.bytes, int64(len(b)))); n > 0 {
		l.skip.bytes -= int64(n)
		used, b = n, b[n:]
	}
	if end {
		l.skip.bytes = 0
	}
	room := driver.MaxLogLine - len(l.buf)
	switch {
	case len(b) > room:
		l.buf = append(l.buf, b[:room]...)
		return used + room, l.buf, true, true
	case end && len(l.buf) == 0:
		return used + len(b), b, true, false
	case end:
		l.buf = append(l.buf, b...)
		return used + len(b), l.buf, true, false
	}
	l.buf = append(l.buf, b...)
	return used + len(b), nil, false, false
}

// entry counts what is delivered.
func (p *Parser) entry(l *line, out []byte, partial bool, at time.Time) driver.LogEntry {
	l.buf = l.buf[:0]
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	if partial {
		l.hash.Write(out)
		l.pos.bytes += int64(len(out))
	} else {
		l.complete(out)
	}
	stream := driver.Stdout
	if l == &p.lines[1] {
		stream = driver.Stderr
	}
	return driver.LogEntry{Time: at, Stream: stream, Partial: partial, Line: out}
}

// complete counts a line whose last part is out.
func (l *line) complete(out []byte) {
	sum := l.sum(out)
	l.tail[l.pos.lines%window] = sum
	if l.pos.lines < heads {
		l.head[l.pos.lines] = sum
	}
	l.known++
	if l.started.bytes > 0 && l.pos.lines == l.started.lines {
		l.known = 0 // its beginning was delivered by another reader
	}
	l.hash.Reset()
	l.pos = position{lines: l.pos.lines + 1}
}

// sum is the hash of the current line if out is its last part.
func (l *line) sum(out []byte) uint64 {
	if l.pos.bytes == 0 {
		return maphash.Bytes(seed, out)
	}
	l.hash.Write(out)
	return l.hash.Sum64()
}

// pending reports whether there is a line that no newline has ended.
func (l *line) pending() bool { return len(l.buf) > 0 || l.pos.bytes > 0 && l.skip == position{} }

// Flush returns, one by one, the last lines that no newline ended; as parts of a line if it is unfinished, because
// its process still runs.
func (p *Parser) Flush(unfinished bool) (driver.LogEntry, bool) {
	for i := range p.lines {
		l := &p.lines[i]
		if len(l.buf) > 0 {
			at := p.time
			if at.IsZero() {
				at = time.Now()
			}
			return p.entry(l, l.buf, unfinished, at), true
		}
	}
	return driver.LogEntry{}, false
}
