//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// message is what the keeper and a container's process 1 say to each other. Files go along with some.
type message struct {
	Op      string
	Name    string        `json:",omitempty"` // hello
	Prefix  []string      `json:",omitempty"` // go
	Signal  int           `json:",omitempty"` // signal, exited
	Request *wire.Request `json:",omitempty"` // call, with the connection
	Reason  string        `json:",omitempty"` // failed
	Code    int           `json:",omitempty"` // exited
	OOM     bool          `json:",omitempty"` // exited
	Termed  bool          `json:",omitempty"` // exited, after a TERM that the keeper did not send
	Time    time.Time     `json:",omitzero"`
}

// What messages say.
const (
	msgHello   = "hello"   // to the keeper: the container waits
	msgGo      = "go"      // to the container: run the command
	msgStarted = "started" // with the reading ends of standard output and standard error
	msgFailed  = "failed"  // could not be started
	msgExited  = "exited"  // has ended, with all that it started
	msgSignal  = "signal"  // to the container: for the command
	msgCall    = "call"    // to the container: answer this call
)

// maxMessage is below what a socket takes at once by default.
const maxMessage = 160 << 10

func send(c *net.UnixConn, m message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("the request has %d bytes, which is too much", len(b))
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	return err
}

// receive reads one message. Buf has room for the largest one.
func receive(c *net.UnixConn, buf []byte) (m message, files []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return m, nil, err
	}
	if oobn > 0 {
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return m, nil, err
		}
		for _, cm := range messages {
			fds, err := unix.ParseUnixRights(&cm)
			if err != nil {
				return m, nil, err
			}
			files = append(files, fds...)
		}
	}
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		return m, files, errors.Join(err, closeAll(files))
	}
	return m, files, nil
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
