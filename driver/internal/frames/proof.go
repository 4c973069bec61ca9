package frames

import (
	"io"
	"slices"
	"strconv"
	"time"
)

// Log opens the stored log of a container, without times: all of it, or its last messages.
type Log func(tail string) (io.ReadCloser, error)

// Proven reports whether the log of a container that has ended says that everything was delivered. That
// a stream ended is no proof: a connection that someone cuts ends like one whose container has
// ended. Messages says that frames of the log are messages, see [Parser.Restart].
//
// A log of less than window messages is compared as a whole, by the number of lines and what is in them. Of
// a longer one the last and the first lines are compared: a stream can lose its end, when it is cut, and its beginning,
// when it was attached too late, and nothing between. When the last lines repeat
// themselves so that a missing line would not show, the answer is no, and the caller counts.
func Proven(delivered *Parser, messages bool, log Log) (bool, error) {
	tail, err := readBack(log, messages, strconv.Itoa(window), window)
	if err != nil {
		return false, err
	}
	if tail.frames < window {
		return sameLog(delivered, tail), nil
	}
	compared := 0
	for i := range delivered.lines {
		n, ok := sameTail(&delivered.lines[i], &tail.lines[i])
		if !ok {
			return false, nil
		}
		compared += n
	}
	if compared == 0 {
		return false, nil
	}
	if delivered.lines[0].started != (position{}) || delivered.lines[1].started != (position{}) {
		return true, nil // it began in the middle, with the log
	}
	head, err := readBack(log, messages, "all", heads)
	if err != nil {
		return false, err
	}
	return sameHead(delivered, head), nil
}

// readBack reads messages of the log, at most as many as told. The last line counts, newline or not.
func readBack(log Log, messages bool, tail string, limit int) (*Parser, error) {
	body, err := log(tail)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	p := &Parser{messages: messages}
	p.Begin(Positions{})
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		for data := buf[:n]; len(data) > 0 && (p.frames < limit || p.frames == limit && p.remain > 0); {
			p.Next(&data, time.Time{}) // the parser counts and remembers
		}
		if err == io.EOF || p.frames >= limit && p.remain == 0 && tail == "all" {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if tail != "all" {
		for {
			if _, ok := p.Flush(false); !ok {
				return p, nil
			}
		}
	}
	return p, nil
}

// count is the number of lines, with the one that no newline has ended.
func (l *line) count() int64 {
	if l.pending() {
		return l.pos.lines + 1
	}
	return l.pos.lines
}

// ending returns the hashes of the last n lines, oldest first, or less if less are known.
func (l *line) ending(n int) []uint64 {
	var sums []uint64
	known := min(l.known, window, n)
	pending := l.pending()
	if pending {
		known = min(known, n-1)
	}
	for i := l.pos.lines - int64(known); i < l.pos.lines; i++ {
		sums = append(sums, l.tail[i%window])
	}
	if pending {
		sums = append(sums, l.sum(l.buf))
	}
	return sums
}

// sameLog compares what was delivered with the whole log.
func sameLog(delivered, log *Parser) bool {
	for i := range delivered.lines {
		d, l := &delivered.lines[i], &log.lines[i]
		if d.count() != l.pos.lines {
			return false
		}
		sums := d.ending(window)
		if !slices.Equal(sums, l.ending(len(sums))) {
			return false
		}
	}
	return true
}

// sameTail compares what was delivered with the end of the log, and returns how many lines that were.
func sameTail(d, log *line) (int, bool) {
	n := log.known - 1 // the first may be the rest of a line
	if n <= 0 {
		return 0, true
	}
	want := log.ending(n)
	got := d.ending(n)
	if !slices.Equal(got, want) || repeats(want) {
		return 0, false
	}
	return n, true
}

// repeats reports whether a list has a period shorter than itself: then one that lost lines at its
// end might look the same.
func repeats(list []uint64) bool {
	// The longest beginning that is an end, too (Knuth, Morris and Pratt).
	border := make([]int, len(list))
	for i, k := 1, 0; i < len(list); i++ {
		for k > 0 && list[i] != list[k] {
			k = border[k-1]
		}
		if list[i] == list[k] {
			k++
		}
		border[i] = k
	}
	return len(list) > 0 && border[len(list)-1] > 0
}

// sameHead compares the first lines delivered with those of the log.
func sameHead(delivered, log *Parser) bool {
	for i := range delivered.lines {
		d, l := &delivered.lines[i], &log.lines[i]
		n := int(min(l.pos.lines, d.pos.lines, heads))
		if int64(n) < min(l.pos.lines, heads) || !slices.Equal(d.head[:n], l.head[:n]) {
			return false
		}
	}
	return true
}
