package remote

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/fxamacker/cbor/v2"

	"github.com/wharfci/wharf/driver"
)

// kind says what a frame is.
type kind byte

const (
	_          kind = iota
	kindHere        // the server: it has taken the connection
	kindCall        // the caller: what is asked for
	kindCancel      // the caller does not want it any more
	kindData        // bytes of a stream; those of Exec's output begin with the number of the stream
	kindEnd         // the caller's stream has ended
	kindBroken      // the caller's stream could not be read: words
	kindTaken       // the server has room again for as many bytes of the caller's stream
	kindItem        // one of a series: an entry, event, or progress
	kindAnswer      // the server: how it ended
)

// Sizes, in bytes.
const (
	maxFrame = 64 << 20 // secrets are in calls
	chunk    = 64 << 10
	window   = 1 << 20 // of a caller's stream that the server has not taken yet
)

// wire is a connection with frames on it. One goroutine receives; any may send.
type wire struct {
	net.Conn
	r  *bufio.Reader
	mu sync.Mutex
	w  *bufio.Writer
}

func newWire(c net.Conn) *wire {
	return &wire{Conn: c, r: bufio.NewReaderSize(c, chunk), w: bufio.NewWriterSize(c, chunk)}
}

// put writes a frame that may wait for the next flush.
func (w *wire) put(k kind, payload ...[]byte) error {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	if n > maxFrame {
		return driver.WithClass(errdefs.ErrInvalidArgument, "a message of %d bytes; %d are the most", n, maxFrame)
	}
	head := [5]byte{byte(k)}
	binary.BigEndian.PutUint32(head[1:], uint32(n))
	_, err := w.w.Write(head[:])
	for _, p := range payload {
		if err == nil {
			_, err = w.w.Write(p)
		}
	}
	return err
}

func (w *wire) send(k kind, payload ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.put(k, payload...); err != nil {
		return err
	}
	return w.w.Flush()
}

// sendValue sends a value in CBOR.
func (w *wire) sendValue(k kind, v any) error {
	b, err := encoding.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(k, b)
}

// receive returns the next frame.
func (w *wire) receive() (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a message of %d bytes; %d are the most", n, maxFrame)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(w.r, b)
	return kind(head[0]), b, err
}

// Strings are bytes: what a driver refuses, such as names that are no UTF-8, has to arrive as it was.
var (
	encoding = must(cbor.EncOptions{String: cbor.StringToByteString, Time: cbor.TimeRFC3339Nano}.EncMode())
	decoding = must(cbor.DecOptions{
		ByteStringToString: cbor.ByteStringToStringAllowed, ByteStringToTime: cbor.ByteStringToTimeAllowed, UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 24, MaxMapPairs: 1 << 24,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are wrong
	}
	return v
}

// request is a call.
type request struct {
	Method string
	Args   cbor.RawMessage
}

// answer is how a call ended.
type answer struct {
	Failure *failure
	Value   cbor.RawMessage
}
