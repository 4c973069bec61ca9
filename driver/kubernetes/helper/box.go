//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// box is a container, as the keeper sees it.
type box struct {
	wire.Box
	t     *task
	index int

	mu       sync.Mutex
	conn     *net.UnixConn
	gone     bool // the connection has ended
	started  time.Time
	sent     bool    // msgGo
	last     message // the record of the end; without Op if process 1 was killed
	attached chan struct{}
	began    chan struct{} // the command runs, or ran
	ended    chan struct{} // and all its output is in the spool
	outputs  []*collector
}

func newBox(t *task, index int, b wire.Box) *box {
	return &box{Box: b, t: t, index: index, attached: make(chan struct{}), began: make(chan struct{}), ended: make(chan struct{})}
}

var errGone = errors.New("process 1 of the container has ended")

// attach takes the connection of the container's process 1, and listens to it until it ends. It reports whether the container was
// waited for.
func (b *box) attach(conn *net.UnixConn) bool {
	b.mu.Lock()
	if b.conn != nil {
		b.mu.Unlock()
		return false
	}
	b.conn = conn
	close(b.attached)
	b.mu.Unlock()
	go b.listen(conn)
	return true
}

func (b *box) listen(conn *net.UnixConn) {
	buf := make([]byte, maxMessage+4096)
	for {
		m, files, err := receive(conn, buf)
		if err != nil {
			break
		}
		switch {
		case m.Op == msgStarted && len(files) == 2 && !isClosed(b.began):
			b.start(m, files)
			continue
		case (m.Op == msgExited || m.Op == msgFailed) && !isClosed(b.ended):
			b.end(m, 0)
		}
		_ = closeAll(files)
	}
	b.mu.Lock()
	b.gone = true
	sent := b.sent
	b.mu.Unlock()
	conn.Close()
	if sent && !isClosed(b.ended) {
		b.end(message{Time: time.Now()}, 5*time.Second)
	}
}

func (b *box) start(m message, files []int) {
	for i, fd := range files {
		if c, err := collect(b.t.spool, b.index, i == 1, fd); err == nil {
			b.outputs = append(b.outputs, c)
		}
	}
	b.mu.Lock()
	b.started = m.Time
	b.mu.Unlock()
	close(b.began)
}

// end keeps the record. The processes of the container are gone, or will be soon: patience says how long to wait for what they print.
func (b *box) end(m message, patience time.Duration) {
	for _, c := range b.outputs {
		c.stop(patience)
	}
	b.mu.Lock()
	b.last = m
	b.mu.Unlock()
	close(b.ended)
}

func (b *box) record() *message {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.last
	return &m
}

func (b *box) startTime() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started
}

func (b *box) launched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

// running reports whether the command runs.
func (b *box) running() bool { return isClosed(b.began) && !isClosed(b.ended) }

func (b *box) launch(prefix []string) {
	b.mu.Lock()
	b.sent = true
	gone := b.gone
	b.mu.Unlock()
	if gone {
		b.end(message{Time: time.Now()}, 0)
		return
	}
	_ = send(b.conn, message{Op: msgGo, Prefix: prefix}) // else listen sees the end
}

// signal sends a signal to the command, if it runs.
func (b *box) signal(n int) {
	if b.launched() && !isClosed(b.ended) {
		_ = send(b.conn, message{Op: msgSignal, Signal: n})
	}
}

// hand lets the container answer a call on a connection.
func (b *box) hand(r *wire.Request, conn *os.File) error {
	<-b.attached
	b.mu.Lock()
	gone := b.gone
	b.mu.Unlock()
	if gone {
		return errGone
	}
	return send(b.conn, message{Op: msgCall, Request: r}, conn)
}

func resultOf(payload []byte) (*wire.Result, error) {
	var a wire.Answer
	if err := json.Unmarshal(payload, &a); err != nil {
		return nil, err
	}
	if a.Error != "" || a.Result == nil {
		return nil, errors.New(a.Error)
	}
	return a.Result, nil
}
