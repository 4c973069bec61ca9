//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// keep is the keeper. It returns when the kubelet ends the pod.
func keep() error {
	var plan wire.Plan
	if err := json.Unmarshal([]byte(os.Getenv(wire.PlanVariable)), &plan); err != nil {
		return fmt.Errorf("%s: %w", wire.PlanVariable, err)
	}
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, unix.SIGTERM)
	unix.Umask(0)
	calls, err := net.Listen("unix", callSocket)
	if err != nil {
		return err
	}
	log, err := newSpool(wire.Private + "/log")
	if err != nil {
		return err
	}
	t := newTask(plan, log)
	s := &server{t: t, served: make(chan struct{})}
	if len(plan.Boxes) == 0 {
		return keepVolume(s, calls, terms)
	}
	if err := install(); err != nil {
		return err
	}
	if err := writeSecrets(plan.Secrets); err != nil {
		return err
	}
	if err := t.listen(); err != nil {
		return err
	}
	if err := os.WriteFile(wire.Private+"/ready", nil, 0o600); err != nil {
		return err
	}
	go s.accept(calls)
	go t.run()
	<-terms
	close(t.termed)
	<-t.over
	s.calls.Wait()
	return nil
}

// keepVolume serves one copy of a volume, which is the root of all that this process sees from now on.
func keepVolume(s *server, calls net.Listener, terms <-chan os.Signal) error {
	ready, err := os.OpenFile(wire.Private+"/ready", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ready.Close()
	if err := unix.Chroot(wire.Volume); err != nil {
		return fmt.Errorf("chroot to the volume: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	go s.accept(calls)
	nobody := time.NewTimer(callers)
	defer nobody.Stop()
	select {
	case <-terms:
	case <-s.served:
	case <-nobody.C:
		if s.begun.Load() {
			select {
			case <-terms:
			case <-s.served:
			}
		}
	}
	return nil
}

// callers is how long a pod for a volume waits for its only call; whoever wanted to make it may have died.
const callers = 5 * time.Minute

// install puts this program where the other containers find it.
func install() error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	unfinished := wire.Program + ".part"
	out, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err != nil {
		return fmt.Errorf("install the helper: %w", err)
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(unfinished, wire.Program)
}

// writeSecrets makes files of the values. The owner is set last, since the file is then out of reach.
func writeSecrets(secrets []wire.Secret) error {
	for _, s := range secrets {
		value, err := os.ReadFile(filepath.Join(wire.Given, s.File))
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(wire.Secrets, s.File), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.Write(value); err != nil {
			return err
		}
		if err := f.Chmod(os.FileMode(s.Mode)); err != nil {
			return err
		}
		if err := f.Chown(s.UID, -1); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// listen takes the calls of the containers. When all have called, nobody else can: what they run later does not find the socket.
func (t *task) listen() error {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: wire.Socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	go func() {
		defer l.Close()
		for waiting := len(t.boxes); waiting > 0; {
			conn, err := l.AcceptUnix()
			if err != nil {
				continue
			}
			if t.hello(conn) {
				waiting--
			} else {
				conn.Close()
			}
		}
		close(t.attached)
	}()
	return nil
}

func (t *task) hello(conn *net.UnixConn) bool {
	m, files, err := receive(conn, make([]byte, 4096))
	_ = closeAll(files)
	if err != nil || m.Op != msgHello {
		return false
	}
	for _, b := range t.boxes {
		if b.Name == m.Name {
			return b.attach(conn)
		}
	}
	return false
}

// note leaves the result where the kubelet finds it when the pod has ended, also with its node.
func note(res wire.Result) {
	if text, err := json.Marshal(res); err == nil {
		_ = os.WriteFile("/dev/termination-log", text, 0o600)
	}
}
