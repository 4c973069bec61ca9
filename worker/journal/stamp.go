package journal

import "time"

// stampLen is the length of a time in output.log: 2006-01-02T15:04:05.000000000Z.
const stampLen = 30

// stamper formats times. Lines come in bursts, so the part down to the second is made once a second.
type stamper struct {
	second int64
	prefix [20]byte // "2006-01-02T15:04:05."
}

// append adds t, in UTC, to b.
func (s *stamper) append(b []byte, t time.Time) []byte {
	if sec := t.Unix(); sec != s.second || s.prefix[0] == 0 {
		s.second = sec
		t.UTC().AppendFormat(s.prefix[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, s.prefix[:]...)
	n := t.Nanosecond()
	var digits [9]byte
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	b = append(b, digits[:]...)
	return append(b, 'Z')
}

// parser reads times back; like stamper it remembers the second.
type parser struct {
	prefix [20]byte
	second time.Time
}

// parse reads the time at the beginning of line, and returns the text behind it and a space. Text that does not
// begin with a time, which no Writer leaves, is returned whole.
func (p *parser) parse(line []byte) (time.Time, []byte) {
	if len(line) <= stampLen || line[stampLen-1] != 'Z' || line[stampLen] != ' ' {
		return time.Time{}, line
	}
	if string(p.prefix[:]) != string(line[:20]) {
		t, err := time.Parse("2006-01-02T15:04:05.", string(line[:20]))
		if err != nil {
			return time.Time{}, line
		}
		p.second = t
		copy(p.prefix[:], line)
	}
	n := 0
	for _, c := range line[20 : stampLen-1] {
		n = n*10 + int(c-'0')
	}
	return p.second.Add(time.Duration(n)), line[stampLen+1:]
}
