package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver/internal/bare"
)

// helper is the program, run on this machine, between pipes as a runtime has them.
type helper struct {
	conn  *Conn
	ended chan error // of the process
}

// dial runs the program for the port of l, and attaches to it as a client of a runtime does.
func dial(t *testing.T, l net.Addr) *helper {
	t.Helper()
	program, err := bare.Pause.Executable(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	port := l.(*net.TCPAddr).Port
	cmd := exec.Command(path, strconv.Itoa(port))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ours, theirs := streams(t)
	go func() {
		_, _ = io.Copy(stdin, theirs)
		stdin.Close()
	}()
	h := &helper{conn: New(ours, ours, "task", port), ended: make(chan error, 1)}
	go func() {
		copyFramed(theirs, stdout)
		theirs.Close() // which ends the other copy
		h.ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		ours.Close()
		_ = cmd.Process.Kill()
	})
	return h
}

// streams returns the ends of a connection on this machine.
func streams(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err = net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// copyFramed writes stdout as a runtime does. Its frames are of no size that matters.
func copyFramed(w io.Writer, stdout io.Reader) {
	buf := make([]byte, 8+1000)
	for {
		n, err := stdout.Read(buf[8:])
		if n > 0 {
			copy(buf, []byte{1, 0, 0, 0})
			binary.BigEndian.PutUint32(buf[4:], uint32(n))
			if _, err := w.Write(buf[:8+n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (h *helper) connected(t *testing.T) *Conn {
	t.Helper()
	if err := h.conn.Connected(); err != nil {
		t.Fatal(err)
	}
	return h.conn
}

// awaitEnd wants the process to end by itself.
func (h *helper) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-h.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the process goes on")
	}
}

// serve calls f for each connection to the address.
func serve(t *testing.T, address string, f func(*net.TCPConn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr()
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_, _ = io.WriteString(c, "end")
}

func TestEcho(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, size := range []int{0, 5, 2000, 3 << 20} {
			h := dial(t, serve(t, address, echo))
			c := h.connected(t)
			want := bytes.Repeat([]byte("\x10\x11wharf"), size/7+1)[:size]
			go func() {
				if _, err := c.Write(want); err != nil {
					t.Error(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, append(want, "end"...)) {
				t.Errorf("%s: %d bytes came back of %d, %v", address, len(got), len(want)+3, err)
			}
			h.awaitEnd(t) // both directions have ended
		}
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	h := dial(t, l.Addr())
	if err := h.conn.Connected(); !errdefs.IsUnavailable(err) {
		t.Errorf("%v; want Unavailable", err)
	}
	h.awaitEnd(t)
}

// A server may end what it sends and go on reading.
func TestServerEndsFirst(t *testing.T) {
	read := make(chan string, 1)
	h := dial(t, serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_ = c.CloseWrite()
		text, _ := io.ReadAll(c)
		read <- string(text)
	}))
	c := h.connected(t)
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := io.WriteString(c, "still there"); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "still there" {
		t.Errorf("the server read %q", got)
	}
	h.awaitEnd(t)
}

// What a server writes before it goes away is not lost, also if nobody reads what it is sent.
func TestServerGoes(t *testing.T) {
	want := bytes.Repeat([]byte("x"), 100<<10)
	h := dial(t, serve(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = c.Write(want) }))
	c := h.connected(t)
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for err == nil {
		_, err = c.Write([]byte("in vain"))
	}
	h.awaitEnd(t)
}

// A server that dies is not one that has ended what it sends.
func TestServerDies(t *testing.T) {
	h := dial(t, serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "part")
		_, _ = io.ReadFull(c, make([]byte, 1))
		_ = c.SetLinger(0) // a reset
	}))
	c := h.connected(t)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if string(got) != "part" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v; want what there was, and that it broke off", got, err)
	}
	h.awaitEnd(t)
}

// What was written before Close arrives, and the process ends.
func TestCloseDelivers(t *testing.T) {
	read := make(chan int64, 1)
	h := dial(t, serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
		time.Sleep(100 * time.Millisecond)
		n, _ := io.Copy(io.Discard, c)
		read <- n
	}))
	c := h.connected(t)
	const size = 200 << 10
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	c.Finish(10 * time.Second)
	if n := <-read; n != size {
		t.Errorf("the server read %d bytes of %d", n, size)
	}
	h.awaitEnd(t)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := c.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
}

// A process to which nobody is attached any more ends, whatever the server does.
func TestDetached(t *testing.T) {
	stay := make(chan struct{})
	defer close(stay)
	h := dial(t, serve(t, "127.0.0.1:0", func(*net.TCPConn) { <-stay }))
	c := h.connected(t)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.ended:
		t.Error("the process has ended with half of the connection")
	case <-time.After(200 * time.Millisecond):
	}
	c.raw.Close()
	h.awaitEnd(t)
}

// Close ends what waits, and Finish does not wait for a server that does not read.
func TestCloseUnderWay(t *testing.T) {
	stay := make(chan struct{})
	defer close(stay)
	h := dial(t, serve(t, "127.0.0.1:0", func(*net.TCPConn) { <-stay }))
	c := h.connected(t)
	failed := make(chan error, 2)
	go func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := c.Write(make([]byte, 64<<20))
		failed <- err
	}()
	time.Sleep(200 * time.Millisecond)
	_ = c.Close()
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("what was under way ended with %v", err)
		}
	}
	began := time.Now()
	c.Finish(100 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Finish took %s", took)
	}
}

// Deadlines end calls, and nothing is lost or said twice when the caller goes on.
func TestDeadlines(t *testing.T) {
	h := dial(t, serve(t, "127.0.0.1:0", func(c *net.TCPConn) {
		time.Sleep(300 * time.Millisecond)
		echo(c)
	}))
	c := h.connected(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() {
		for left := want; len(left) > 0; {
			_ = c.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
			n, err := c.Write(left)
			left = left[n:]
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
				return
			}
		}
		_ = c.SetWriteDeadline(time.Time{})
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	var got bytes.Buffer
	timeouts := 0
	for buf := make([]byte, 10_000); ; {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := c.Read(buf)
		got.Write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			timeouts++
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), append(want, "end"...)) || timeouts == 0 {
		t.Errorf("%d bytes came back of %d, with %d timeouts", got.Len(), len(want)+3, timeouts)
	}
	h.awaitEnd(t)
}

func TestWriteAfterCloseWrite(t *testing.T) {
	h := dial(t, serve(t, "127.0.0.1:0", echo))
	c := h.connected(t)
	if err := errors.Join(c.CloseWrite(), c.CloseWrite()); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
}
