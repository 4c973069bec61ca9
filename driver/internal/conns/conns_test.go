package conns

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestClose ends a connection that is in use, and refuses one that comes up later.
func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var l List
	dial := l.Dialer(new(net.Dialer).DialContext)
	inUse, err := dial(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := inUse.Read(make([]byte, 1))
		read <- err
	}()
	closed := errors.New("the driver was closed")
	l.Close(closed)
	if err := <-read; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a connection in use: %v, want that it was closed", err)
	}
	if late, err := dial(t.Context(), "unix", path); !errors.Is(err, closed) {
		t.Errorf("a connection after Close: %v, %v", late, err)
	}
	if err := inUse.Close(); err == nil {
		t.Error("closing twice told nothing")
	}
	if len(l.open) != 0 {
		t.Errorf("%d connections are still known", len(l.open))
	}
}
