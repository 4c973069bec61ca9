package podman

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
)

// cutLine is what Podman says, as it has been seen.
const cutLine = "Error: read unixpacket @->/proc/self/fd/21/attach: read: connection reset by peer\n"

func frameOf(stream driver.Stream, content string) string {
	b := binary.BigEndian.AppendUint32([]byte{byte(stream), 0, 0, 0}, uint32(len(content)))
	return string(b) + content
}

func TestSpoken(t *testing.T) {
	out, words := frameOf(driver.Stdout, "out\n"), frameOf(driver.Stderr, cutLine)
	for name, c := range map[string]struct {
		in, want string
		cut      bool
	}{
		"nothing":               {"", "", false},
		"output":                {out + out, out + out, false},
		"only words":            {words, "", true},
		"words at the end":      {out + words, out, true},
		"words of the task":     {words + out, words + out, false},
		"twice":                 {words + words, words, true},
		"on standard output":    {frameOf(driver.Stdout, cutLine), frameOf(driver.Stdout, cutLine), false},
		"no more than the like": {frameOf(driver.Stderr, "Error: no\n"), frameOf(driver.Stderr, "Error: no\n"), false},
		"a part of a line":      {frameOf(driver.Stderr, "Error: "), frameOf(driver.Stderr, "Error: "), false},
		"an empty frame":        {frameOf(driver.Stderr, "") + out, frameOf(driver.Stderr, "") + out, false},
		"an empty frame at end": {out + frameOf(driver.Stderr, ""), out + frameOf(driver.Stderr, ""), false},
		"a header that breaks":  {out + words[:5], out + words[:5], false},
		"words that break off":  {out + words[:30], out + words[:30], false},
		"a large frame":         {frameOf(driver.Stderr, strings.Repeat("x", 100_000)) + words, frameOf(driver.Stderr, strings.Repeat("x", 100_000)), true},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "by halves": iotest.HalfReader, "with the end": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(newSpoken(reader(strings.NewReader(c.in))))
			if string(got) != c.want || errors.As(err, new(*cutError)) != c.cut || err != nil && !c.cut {
				t.Errorf("%s, %s: %q, %v; want %q, and cut off: %v", name, how, got, err, c.want, c.cut)
			}
		}
	}
}

// After an error that passes, a stream goes on where it was.
func TestSpokenAfterTimeout(t *testing.T) {
	words := frameOf(driver.Stderr, cutLine) + frameOf(driver.Stdout, "out\n")
	s := newSpoken(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(words))))
	got, err := io.ReadAll(s)
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(s)
	if err != nil || string(got)+string(rest) != words {
		t.Errorf("%q and %q, %v; want %q", got, rest, err, words)
	}
}

// cutting stands between a driver and the service, and does to attached streams what Podman does: after some frames it loses the container, swallows
// what comes, and says so. Whether it waits for the container's end, as when the monitor never took the connection, is soon's opposite.
type cutting struct {
	t      *testing.T
	target string
	frames int
	soon   bool
	wg     sync.WaitGroup
}

// driver returns one whose streams are cut.
func (c *cutting) driver() *Driver {
	c.t.Helper()
	l, err := net.Listen("unix", filepath.Join(c.t.TempDir(), "s"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.pass(client) })
		}
	})
	d, err := New(Config{Host: "unix://" + l.Addr().String(), Owner: "test-" + newUID()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := errors.Join(d.Close(), l.Close()); err != nil {
			c.t.Error(err)
		}
		c.wg.Wait()
	})
	return d
}

// pass hands a connection on.
func (c *cutting) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", c.target)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer server.Close()
	from := bufio.NewReader(client)
	head, _ := from.Peek(1)
	if len(head) > 0 {
		head, _ = from.Peek(from.Buffered())
		head = bytes.Clone(head) // it is passed on beside
	}
	c.wg.Go(func() {
		_, _ = io.Copy(server, from)
		_ = server.(*net.UnixConn).CloseWrite()
	})
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.Contains(line, []byte("/attach")) {
		_, _ = io.Copy(client, server)
		return
	}
	c.cut(client, bufio.NewReader(server))
}

// cut hands on the beginning of an attached stream.
func (c *cutting) cut(client net.Conn, server *bufio.Reader) {
	answer, err := http.ReadResponse(server, nil)
	if err != nil {
		c.t.Error(err)
		return
	}
	fmt.Fprintf(client, "HTTP/1.1 %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", answer.Status)
	for range c.frames {
		header, err := server.Peek(8)
		if err != nil {
			break // there is no more
		}
		_, _ = io.CopyN(client, server, 8+int64(binary.BigEndian.Uint32(header[4:])))
	}
	if !c.soon {
		_, _ = io.Copy(io.Discard, server)
	}
	_, _ = io.WriteString(client, frameOf(driver.Stderr, cutLine))
}

// chatter is a task that prints lines on both streams, and what it prints by stream, in order.
func chatter() (driver.TaskSpec, map[driver.Stream][]string) {
	var script strings.Builder
	want := map[driver.Stream][]string{}
	for i := range 5 {
		out, err := fmt.Sprint("out ", i), fmt.Sprint("err ", i)
		fmt.Fprintf(&script, "echo %q; echo %q >&2; ", out, err)
		want[driver.Stdout], want[driver.Stderr] = append(want[driver.Stdout], out), append(want[driver.Stderr], err)
	}
	return driver.TaskSpec{Container: sh(script.String())}, want
}

// byStream reads a log to its end.
func byStream(t *testing.T, r driver.LogReader) map[driver.Stream][]string {
	t.Helper()
	got := map[driver.Stream][]string{}
	for e, err := range driver.Entries(r) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Stream] = append(got[e.Stream], string(e.Line))
	}
	return got
}

// Podman loses a container to whose output somebody listens: its words are no line of the task, and no line is missing or comes twice.
func TestLogIsCut(t *testing.T) {
	t.Parallel()
	target := open(t).api.address
	for name, c := range map[string]*cutting{
		"before it was taken on":    {},
		"after two lines, while on": {frames: 2, soon: true},
		"after seven, at its end":   {frames: 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.t, c.target = t, target
			d := c.driver()
			spec, want := chatter()
			r := follow(t.Context(), t, d, create(t, d, spec))
			if diff := cmp.Diff(want, byStream(t, r)); diff != "" {
				t.Errorf("the log (-want +got):\n%s", diff)
			}
		})
	}
}

// What a task prints is its own, also if it is what Podman says.
func TestTaskSaysTheLike(t *testing.T) {
	t.Parallel()
	d := open(t)
	line := strings.TrimSpace(cutLine)
	r := follow(t.Context(), t, d, create(t, d, driver.TaskSpec{Container: sh(fmt.Sprintf("echo one; echo %q >&2; echo two; echo %q >&2", line, line))}))
	want := map[driver.Stream][]string{driver.Stdout: {"one", "two"}, driver.Stderr: {line, line}}
	if diff := cmp.Diff(want, byStream(t, r)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}
