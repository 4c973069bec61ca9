package podman

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// cutWords begin what Podman puts into a container's stream, as a last frame of its standard error, when it lost the container: its monitor ends without
// having taken the connection, as on a busy machine, or with input that nobody has read.
const cutWords = "Error: read unixpacket "

// maxWords is more than Podman says then: a path and what the kernel calls it.
const maxWords = 8 << 10

// cutError is the end of a stream that Podman has cut. What was on its way is lost with it.
type cutError struct{ said string }

func (e *cutError) Error() string { return "Podman has cut the stream off: " + e.said }

// Unwrap returns what the end is to those who do not know Podman's words.
func (e *cutError) Unwrap() []error { return []error{errdefs.ErrUnavailable, io.ErrUnexpectedEOF} }

// spoken is a stream of frames without Podman's own words, which look as if the container had printed them. A frame that begins
// like them is kept back until another one follows, and so was the container's, or until the stream ends. A log, which must not lose even that
// of a container, is read from where it is stored then.
type spoken struct {
	r    io.Reader
	buf  []byte
	out  []byte // of buf, to be handed out
	held []byte // of buf, behind out: the beginning of a frame
	left int    // bytes of the current frame that are still to come
}

func newSpoken(r io.Reader) *spoken { return &spoken{r: r, buf: make([]byte, 32<<10)} }

// Read hands out what is certain. After an error that passes, such as a deadline, it goes on where it was.
func (s *spoken) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		n := copy(s.buf, s.held)
		m, err := s.r.Read(s.buf[n:])
		s.divide(s.buf[:n+m])
		if err != nil && len(s.out) == 0 {
			return s.end(p, err)
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// end is what there is to read when the stream has an error.
func (s *spoken) end(p []byte, err error) (int, error) {
	if err != io.EOF || len(s.held) == 0 {
		return 0, err
	}
	if words, whole := wordsOf(s.held); whole {
		s.held = nil
		return 0, &cutError{said: string(bytes.TrimSpace(words))}
	}
	n := copy(p, s.held) // a frame that broke off
	s.out, s.held = s.held[n:], nil
	return n, nil
}

// divide takes data for what it is: frames that can be handed out, and at the end perhaps one that cannot.
func (s *spoken) divide(data []byte) {
	i := 0
	for {
		step := min(s.left, len(data)-i)
		i += step
		if s.left -= step; i == len(data) || suspect(data[i:]) {
			break
		}
		s.left = 8 + int(binary.BigEndian.Uint32(data[i+4:]))
	}
	s.out, s.held = data[:i], data[i:]
}

// suspect reports whether the rest of what came, which begins with a frame, may be Podman's own words, or does not tell yet.
func suspect(rest []byte) bool {
	if len(rest) < 8 {
		return true
	}
	words, _ := wordsOf(rest)
	return words != nil
}

// wordsOf returns what there is of Podman's words in a frame that is the last one, and whether they are whole; nil if it is something else.
func wordsOf(frame []byte) (words []byte, whole bool) {
	if len(frame) < 8 {
		return nil, false
	}
	size := int(binary.BigEndian.Uint32(frame[4:]))
	words = frame[8:]
	if driver.Stream(frame[0]) != driver.Stderr || size <= len(cutWords) || size > maxWords || len(words) > size {
		return nil, false
	}
	if n := min(len(words), len(cutWords)); string(words[:n]) != cutWords[:n] {
		return nil, false
	}
	return words, len(words) == size
}
