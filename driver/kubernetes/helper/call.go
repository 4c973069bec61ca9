//go:build linux

package main

import (
	"io"
	"net"
	"os"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

const callSocket = wire.Private + "/calls"

// call carries bytes between the driver, on standard input and output, and the keeper. The end of its input is the end of
// the driver's interest.
func call() error {
	conn, err := net.Dial("unix", callSocket)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 64<<10)
		_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{os.Stdin}, buf)
		conn.Close()
	}()
	buf := make([]byte, 256<<10)
	_, _ = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{conn}, buf)
	return nil
}
