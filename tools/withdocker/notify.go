//go:build linux

package main

import (
	"net"
	"slices"
	"strings"
)

// listenReady opens the socket to which a service manager's children say that they are ready (sd_notify(3)). The
// channel gets nil with READY=1, or what is wrong with the socket.
func listenReady() (<-chan error, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifySocket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go func() {
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil || slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	return ready, nil
}
