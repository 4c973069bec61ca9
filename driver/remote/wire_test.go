package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// TestFailure sends errors over and wants operation, subject, words and class back.
func TestFailure(t *testing.T) {
	for _, err := range []error{
		&driver.Error{Op: "create", Subject: "a", Err: driver.WithClass(errdefs.ErrAlreadyExists, "there is one")},
		&driver.Error{Op: "exec", Err: driver.Unsupported("exec")},
		driver.WithClass(errdefs.ErrNotImplemented, "no"),
		driver.WithClass(errdefs.ErrUnavailable, "not now\xff"),
		driver.Wrap(context.Background(), "wait", "x", context.DeadlineExceeded),
		errors.New("something"),
	} {
		b, encodeErr := encoding.Marshal(answer{Failure: failureOf(err)})
		if encodeErr != nil {
			t.Fatal(encodeErr)
		}
		got := decode(b, nil)
		var want, back *driver.Error
		if errors.As(err, &want) != errors.As(got, &back) || want != nil && (want.Op != back.Op || want.Subject != back.Subject) {
			t.Errorf("%#v came back as %#v", err, got)
		}
		if got.Error() != err.Error() || errdefs.Resolve(got) != errdefs.Resolve(err) || errors.Is(got, driver.ErrUnsupported) != errors.Is(err, driver.ErrUnsupported) {
			t.Errorf("%v came back as %v, class %v", err, got, errdefs.Resolve(got))
		}
	}
	if err := failureOf(nil).err(); err != nil {
		t.Errorf("no error came back as %v", err)
	}
}

// TestSpec sends what a task may be over, bytes that are no text and empty lists included: these mean something else than none.
func TestSpec(t *testing.T) {
	spec := driver.TaskSpec{
		Name: "a", Labels: map[string]string{"k": "v\xff"},
		Container: driver.Container{Image: "i", Entrypoint: []string{}, Args: nil, Env: map[string]string{"A": "\x00\xfe"}, Credentials: &driver.Credentials{Username: "u"}},
		Services:  []driver.Service{{Container: driver.Container{Name: "db", Image: "db"}, Ready: driver.Ready{TCP: 80, Timeout: time.Second}}},
		Secrets:   []driver.Secret{{Name: "s", Path: "/s", Value: []byte{0, 255}, Containers: []string{"main"}}},
	}
	b, err := encoding.Marshal(spec)
	var got driver.TaskSpec
	if err == nil {
		err = decoding.Unmarshal(b, &got)
	}
	if err != nil || !reflect.DeepEqual(got, spec) {
		t.Errorf("it came back as\n%#v, %v; want\n%#v", got, err, spec)
	}
}

// FuzzEntries reads what may have come as entries of a log, and writes it again.
func FuzzEntries(f *testing.F) {
	e := driver.LogEntry{Time: time.Unix(1, 2).UTC(), Container: "main", Stream: driver.Stderr, Partial: true, Line: []byte("a\x00\xff")}
	f.Add(appendEntry(appendEntry(nil, &e, "cursor"), &driver.LogEntry{Stream: driver.Stdout}, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		var all []driver.LogEntry
		for rest := b; len(rest) > 0; {
			e, cursor, more, err := nextEntry(rest)
			if err != nil {
				return
			}
			all, again, rest = append(all, e), appendEntry(again, &e, cursor), more
		}
		for rest := again; len(rest) > 0; all = all[1:] {
			e, _, more, err := nextEntry(rest)
			if err != nil || !e.Time.Equal(all[0].Time) || e.Container != all[0].Container || !bytes.Equal(e.Line, all[0].Line) || e.Partial != all[0].Partial {
				t.Fatalf("%+v came back as %+v, %v", all[0], e, err)
			}
			rest = more
		}
	})
}

// TestGarbage sends what is no call, and wants the connection to be closed and the server to go on.
func TestGarbage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, nil) }()
	for _, garbage := range [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), {byte(kindCall), 0, 0, 0, 1, 0xff}, {byte(kindCall), 255, 255, 255, 255}, {byte(kindData), 0, 0, 0, 0}} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(garbage); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(c); !bytes.Equal(b, []byte{byte(kindHere), 0, 0, 0, 0}) {
			t.Errorf("%q was answered by %q", garbage, b)
		}
		c.Close()
	}
	unknown := &Driver{cfg: Config{}, ctx: context.Background()}
	unknown.dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
	if _, err := attempt[none](t.Context(), unknown, "Nonsense", none{}); !errdefs.IsNotImplemented(err) {
		t.Errorf("an unknown call: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
