package remote

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// inlet is a caller's stream where the server reads it. What is read the caller is told, so that it never sends more than is taken, and a frame that
// cancels the call is not behind one that nobody takes.
type inlet struct {
	w      *wire
	mu     sync.Mutex
	filled sync.Cond
	data   []byte
	err    error
}

func (i *inlet) init(w *wire) {
	i.w = w
	i.filled.L = &i.mu
}

func (i *inlet) add(b []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.data)+len(b) > window {
		i.err = errors.New("the caller sends more than there is room for")
	} else {
		i.data = append(i.data, b...)
	}
	i.filled.Broadcast()
}

func (i *inlet) end() { i.fail(io.EOF) }

func (i *inlet) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
	i.filled.Broadcast()
}

// ended reports whether the caller has sent all.
func (i *inlet) ended() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err == io.EOF
}

func (i *inlet) Read(p []byte) (int, error) {
	i.mu.Lock()
	for len(i.data) == 0 && i.err == nil {
		i.filled.Wait()
	}
	n := copy(p, i.data)
	i.data = i.data[n:]
	err := i.err
	i.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	_ = i.w.send(kindTaken, binary.BigEndian.AppendUint32(nil, uint32(n))) // that a connection is broken says who receives from it
	return n, nil
}

// outlet is a caller's stream where the caller sends it.
type outlet struct {
	w    *wire
	mu   sync.Mutex
	more sync.Cond
	room int
	done bool
	err  error // of the reader
}

func newOutlet(w *wire) *outlet {
	o := &outlet{w: w, room: window}
	o.more.L = &o.mu
	return o
}

// errStopped is the error of a stream that was not sent to its end.
var errStopped = errors.New("the call was over before its stream")

// send sends what r has, until its end. It returns the error of r, or why it has stopped before.
func (o *outlet) send(r io.Reader) error {
	b := make([]byte, chunk)
	for {
		room := o.wait()
		if room == 0 {
			return errStopped
		}
		n, err := r.Read(b[:min(room, len(b))])
		if n > 0 {
			o.use(n, err)
			if err := o.w.send(kindData, b[:n]); err != nil {
				return errStopped
			}
		}
		switch {
		case err == io.EOF:
			return o.w.send(kindEnd)
		case err != nil:
			o.use(0, err)
			_ = o.w.send(kindBroken, []byte(err.Error()))
			return err
		}
	}
}

// use notes how much was read, and with which error.
func (o *outlet) use(n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room -= n
	if err != io.EOF {
		o.err = err
	}
}

// readError is why the stream could not be read, or nil.
func (o *outlet) readError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// wait returns how much the server has room for, or 0 when the call is over.
func (o *outlet) wait() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.room == 0 && !o.done {
		o.more.Wait()
	}
	if o.done {
		return 0
	}
	return o.room
}

// taken takes in a frame that says how much was read.
func (o *outlet) taken(payload []byte) {
	if len(payload) != 4 || binary.BigEndian.Uint32(payload) > window {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room = min(o.room+int(binary.BigEndian.Uint32(payload)), window)
	o.more.Broadcast()
}

// close ends send, once r returns.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	o.more.Broadcast()
}
