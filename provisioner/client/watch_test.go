package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
	"github.com/wharfci/wharf/provisioner/report"
)

// outage is a provisioner with workers that run until they are deleted, and whose API can be away.
type outage struct {
	*provisioner.Provisioner
	server *httptest.Server
	away   atomic.Pointer[http.HandlerFunc]
}

func newOutage(t *testing.T, heartbeat time.Duration) *outage {
	t.Helper()
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(ctx context.Context, p *fake.Proc) int {
		if p.Args()[1] == "worker" {
			signals := p.Signals()
			_ = report.Write(p.Stdout(), report.Line{State: report.Running})
			select {
			case <-signals:
			case <-ctx.Done():
			}
			return 130
		}
		return 0
	}}})
	d := rt.Open("workers")
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "registry.example/wharf/worker:1", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	o := &outage{Provisioner: p}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	api := p.Handler(provisioner.Gate{Open: true, Heartbeat: heartbeat, Streams: -1})
	o.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if instead := o.away.Load(); instead != nil {
			(*instead)(w, r)
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		o.server.CloseClientConnections()
		cancel()
		<-done
		o.server.Close()
		d.Close()
	})
	return o
}

// breakDown cuts all connections, and answers no other as it should until mended.
func (o *outage) breakDown(instead http.HandlerFunc) {
	o.away.Store(&instead)
	o.server.CloseClientConnections()
}

func (o *outage) mend() { o.away.Store(nil) }

func noGateway(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "<h1>Bad gateway</h1>", http.StatusBadGateway)
}

// follow yields what Events tells as text; the channel is closed at the end.
func follow(ctx context.Context, c *client.Client, states ...provisioner.State) <-chan string {
	told := make(chan string, 100)
	go func() {
		defer close(told)
		for e, err := range c.Events(ctx, states...) {
			switch {
			case err != nil:
				told <- "error"
			case e.Kind == client.Changed && e.Worker.State == provisioner.Removed && e.Worker.Reason != "it has been removed":
				told <- fmt.Sprintf("%d is gone, because %s", e.Worker.Build, e.Worker.Reason)
			case e.Kind == client.Changed:
				told <- fmt.Sprintf("%d %s", e.Worker.Build, e.Worker.State)
			default:
				told <- string(e.Kind)
			}
		}
	}()
	return told
}

// until returns what was told up to a certain event.
func until(t *testing.T, told <-chan string, last string) (events []string) {
	t.Helper()
	for e := range told {
		if events = append(events, e); e == last {
			return events
		}
	}
	t.Fatalf("after %q there is no %q", events, last)
	return nil
}

func (o *outage) client(t *testing.T, opts client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o.server.URL, "", opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWatchHeals: after a connection was lost, what has changed meanwhile is told, and nothing else.
func TestWatchHeals(t *testing.T) {
	o := newOutage(t, 0)
	c := o.client(t, client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	told := follow(ctx, c)
	var ids []string
	for _, n := range []string{"1", "2"} {
		w, err := c.Trigger(ctx, build(n))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, w.ID)
		until(t, told, n+" running")
	}
	o.breakDown(noGateway)
	until(t, told, "lost")
	if err := o.Delete(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	o.mend()
	events := until(t, told, "synced")
	again := func(e string) bool { return e == "lost" || e == "2 running" } // it may have changed, such as the time at which it was made
	if rest := slices.DeleteFunc(events, again); !slices.Equal(rest, []string{"1 removed", "synced"}) {
		t.Errorf("after the outage it is told %q", rest)
	}
	if _, err := c.Trigger(ctx, build("3")); err != nil {
		t.Fatal(err)
	}
	until(t, told, "3 running")
	cancel()
	if end := <-told; end != "error" {
		t.Errorf("in the end it is told %q", end)
	}
}

// TestWatchHealsStates: with states, what has left them meanwhile is told as it is now.
func TestWatchHealsStates(t *testing.T) {
	o := newOutage(t, 0)
	c := o.client(t, client.Options{})
	w, err := c.Trigger(t.Context(), build("1"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, follow(t.Context(), c), "1 running")
	running := follow(t.Context(), c, provisioner.Running) // it runs before: what is told first ends with "synced"
	until(t, running, "synced")
	o.breakDown(noGateway)
	until(t, running, "lost")
	if err := o.Delete(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	o.mend()
	events := until(t, running, "synced")
	if rest := slices.DeleteFunc(events, func(e string) bool { return e == "lost" }); !slices.Equal(rest, []string{"1 removed", "synced"}) {
		t.Errorf("after the outage it is told %q", rest)
	}
}

// TestWatchSilence: a connection on which nothing comes is given up.
func TestWatchSilence(t *testing.T) {
	o := newOutage(t, time.Hour)
	told := follow(t.Context(), o.client(t, client.Options{Silence: 300 * time.Millisecond}))
	until(t, told, "synced")
	until(t, told, "lost")
	until(t, told, "synced")
}

// TestWatchGivesUp: what another try would not mend is an error, the last one.
func TestWatchGivesUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	nobody, err := client.New("http://"+l.Addr().String(), "", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := until(t, follow(t.Context(), nobody), "error"); len(got) != 1 {
		t.Errorf("where nobody listens: %q", got)
	}
	o := newOutage(t, 0)
	c := o.client(t, client.Options{})
	told := follow(t.Context(), c)
	until(t, told, "synced")
	o.breakDown(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(401)
		fmt.Fprint(w, `{"type": "x", "title": "The token is wrong", "status": 401, "detail": "it was replaced"}`)
	})
	if got := until(t, told, "error"); len(got) > 2 {
		t.Errorf("whose token is wrong now: %q", got)
	}
	if _, more := <-told; more {
		t.Error("it goes on after an error")
	}
	o.breakDown(noGateway)
	for _, err := range c.Watch(t.Context()) {
		if err == nil {
			t.Error("a gateway is taken for a provisioner")
		}
	}
	o.mend()
	ended, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	for _, err := range c.Watch(ended) {
		if !errors.Is(err, why) {
			t.Errorf("the reason is %v", err)
		}
	}
}
