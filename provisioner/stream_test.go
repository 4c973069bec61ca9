package provisioner_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// watching is an open stream.
type watching struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Scanner
}

func (d *described) watch(query string) *watching {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute) // a test whose event never comes says so
	d.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", d.url+"/api/worker?watch=true"+query, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || kind != "text/event-stream" {
		d.t.Fatalf("a stream is %s, of %s", res.Status, kind)
	}
	return &watching{d.t, res, bufio.NewScanner(res.Body)}
}

// next returns the next event, or nothing when the stream has ended.
func (w *watching) next() (event, data string) {
	for w.lines.Scan() {
		field, value, _ := strings.Cut(w.lines.Text(), ": ")
		switch field {
		case "event":
			event = value
		case "data":
			data = value
		case "id":
			w.t.Errorf("an event has the id %q, which would mean nothing", value)
		case "":
			if event != "" && w.lines.Text() == "" {
				return event, data
			}
		}
	}
	return "", ""
}

// until reads events until one begins like this, and returns them all, as "kind build state".
func (w *watching) until(last string) (events []string) {
	w.t.Helper()
	for {
		kind, data := w.next()
		var worker provisioner.Worker
		if kind == "" {
			w.t.Fatalf("the stream has ended after %q: %v", events, w.lines.Err())
		}
		if kind == "synced" {
			events = append(events, "synced "+data)
		} else if err := json.Unmarshal([]byte(data), &worker); err != nil {
			w.t.Fatalf("%s: %v", data, err)
		} else {
			events = append(events, kind+" "+strconv.FormatUint(worker.Build, 10)+" "+string(worker.State))
		}
		if strings.HasPrefix(events[len(events)-1], last) {
			return events
		}
	}
}

// TestStream follows a worker through its life.
func TestStream(t *testing.T) {
	y := newYard()
	y.build = untilTold
	p := y.open(t, nil)
	d := serve(t, p, provisioner.Gate{Open: true})
	s := d.watch("")
	if got := s.until("synced"); !slices.Equal(got, []string{`synced {"totalCount":0}`}) {
		t.Errorf("at first there is %q", got)
	}
	w := ask(t, p, trigger(1))
	s.until("worker 1 running")
	second := d.watch("")
	if got := second.until("synced"); !slices.Equal(got, []string{"worker 1 running", `synced {"totalCount":1}`}) {
		t.Errorf("who comes later is told %q", got)
	}
	if err := p.Delete(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
	for _, each := range []*watching{s, second} {
		if got := each.until("removed"); got[len(got)-1] != "removed 1 removed" {
			t.Errorf("the last event is %q", got)
		}
	}
}

// TestStreamStates: with states a worker is told while it is in one of them, and once when it leaves.
func TestStreamStates(t *testing.T) {
	y := newYard()
	y.build = untilTold
	p := y.open(t, func(cfg *provisioner.Config) { cfg.Limits.Total = 1 })
	d := serve(t, p, provisioner.Gate{Open: true})
	first := ask(t, p, trigger(1))
	until(t, p, first.ID, provisioner.Running)
	s := d.watch("&state=queued&state=lost")
	if got := s.until("synced"); !slices.Equal(got, []string{`synced {"totalCount":0}`}) {
		t.Errorf("there is %q, and none of these states", got)
	}
	second := ask(t, p, trigger(2))
	s.until("worker 2 queued")
	if err := p.Delete(t.Context(), first.ID); err != nil {
		t.Error(err)
	}
	until(t, p, second.ID, provisioner.Running)
	third := ask(t, p, trigger(3))
	left := 0
	for _, e := range s.until("worker 3 queued") {
		of, state := strings.Fields(e)[1], strings.Fields(e)[2]
		if of == "2" && state != "queued" {
			left++
		}
		if of == "1" || left > 1 {
			t.Errorf("told of %q", e)
		}
	}
	if err := p.Delete(t.Context(), third.ID); err != nil {
		t.Error(err)
	}
	for got := s.until(""); !slices.Contains([]string{"worker 3 cancelled", "removed 3 removed"}, got[0]); got = s.until("") { // the end of one that is gone at once is not told
		switch {
		case got[0] == "worker 3 queued":
		case left == 0 && strings.HasPrefix(got[0], "worker 2 "): // what has changed since the last look is told in any order
			left++
		default:
			t.Errorf("told of %q", got)
		}
	}
	if left != 1 {
		t.Errorf("told %d times that the second is not queued any longer; want once", left)
	}
	d.want(http.StatusBadRequest, "GET", "/api/worker?watch=true&state=removed", nil)
	if res, err := http.Head(d.url + "/api/worker?watch=true"); err != nil || res.StatusCode != http.StatusOK { // and does not wait for events
		t.Errorf("the head alone: %v, %v", res, err)
	}
}

// TestStreamOutlivesReading: the time that a request has to arrive is none for its answer.
func TestStreamOutlivesReading(t *testing.T) {
	p := newYard().open(t, nil)
	d := serve(t, p, provisioner.Gate{Open: true, Heartbeat: 20 * time.Millisecond}, func(s *http.Server) {
		s.ReadTimeout, s.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	s := d.watch("")
	for range 20 {
		for s.lines.Scan() && s.lines.Text() != ": still here" {
		}
	}
	ask(t, p, trigger(1))
	s.until("worker 1 succeeded")
}

// TestDeleteOutlivesReading: neither is it one for a build to end.
func TestDeleteOutlivesReading(t *testing.T) {
	y := newYard()
	told := make(chan bool)
	y.build = func(_ context.Context, p *fake.Proc, _ string) int {
		signals := p.Signals()
		told <- true
		<-signals
		told <- true
		<-told
		return 130
	}
	p := y.open(t, nil)
	d := serve(t, p, provisioner.Gate{Open: true, Heartbeat: 20 * time.Millisecond}, func(s *http.Server) { s.ReadTimeout = 50 * time.Millisecond })
	w := ask(t, p, trigger(1))
	<-told
	beats := d.watch("")
	go func() {
		<-told
		for range 10 { // longer than the time to read
			for beats.lines.Scan() && beats.lines.Text() != ": still here" {
			}
		}
		told <- true
	}()
	d.want(http.StatusNoContent, "DELETE", "/api/worker/"+w.ID, nil)
}

// TestStreams: one address has as many streams as it may, and gets another when one has ended.
func TestStreams(t *testing.T) {
	p := newYard().open(t, nil)
	ended := make(chan bool, 100)
	gate := p.Handler(provisioner.Gate{Open: true, Streams: 3})
	d := serve(t, p, provisioner.Gate{Open: true}, func(s *http.Server) {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gate.ServeHTTP(w, r)
			ended <- true
		})
	})
	var open []*watching
	for range 3 {
		open = append(open, d.watch(""))
	}
	for range 5 {
		if status, head, text := d.do("GET", "/api/worker?watch=true", nil); status != http.StatusTooManyRequests || head.Get("Retry-After") == "" || !strings.Contains(text, "too-many-streams") {
			t.Errorf("a fourth stream: %d, %v, %s", status, head, text)
		}
		<-ended
	}
	d.want(http.StatusOK, "GET", "/api/worker", nil)
	<-ended
	open[1].res.Body.Close()
	<-ended
	d.watch("").until("synced")
}

// pipes is a listener whose connections have no buffers: what one end does not read the other cannot write.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.made:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipes) dial() net.Conn {
	here, there := net.Pipe()
	l.made <- there
	return here
}

// TestStreamSlow: many clients that take nothing are dropped, and one that does gets everything meanwhile.
func TestStreamSlow(t *testing.T) {
	p := newYard().open(t, nil)
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := &pipes{made: make(chan net.Conn), closed: make(chan struct{})}
	const slow = 50
	dropped := make(chan bool, slow)
	gate := p.Handler(provisioner.Gate{Open: true, Heartbeat: 100 * time.Millisecond, Streams: -1, Rate: -1})
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.ServeHTTP(w, r)
		if r.URL.Query().Has("slow") {
			dropped <- true
		}
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for range slow {
		c := l.dial()
		defer c.Close()
		if _, err := c.Write([]byte("GET /api/worker?watch=true&slow HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	fast := l.dial()
	if _, err := fast.Write([]byte("GET /api/worker?watch=true HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(fast), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{t, res, bufio.NewScanner(res.Body)}
	w.until("synced")
	for build := range uint64(5) {
		ask(t, p, trigger(build+1))
		w.until("worker " + strconv.FormatUint(build+1, 10) + " succeeded")
	}
	go func() { // it goes on listening, or it would be dropped too
		for w.lines.Scan() {
		}
	}()
	for range slow {
		<-dropped
	}
	fast.Close()
	s.Close()
	<-served
}

// TestStreamClosing: streams end when the provisioner does, as answers that are complete.
func TestStreamClosing(t *testing.T) {
	y := newYard()
	d := y.Open("workers")
	defer d.Close()
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	api := serve(t, p, provisioner.Gate{Open: true})
	ask(t, p, trigger(1))
	var open []*watching
	for range 10 {
		w := api.watch("")
		w.until("synced")
		open = append(open, w)
	}
	stop()
	for _, w := range open {
		for kind, _ := w.next(); kind != ""; kind, _ = w.next() {
		}
		if err := w.lines.Err(); err != nil {
			t.Errorf("a stream is cut off: %v", err)
		}
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if text := api.want(http.StatusServiceUnavailable, "POST", "/api/worker?"+query(asked()), nil); !strings.Contains(text, "shutting-down") {
		t.Errorf("a trigger then: %s", text)
	}
}
