package watchdog_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
)

// idle runs a provisioner that nobody has asked for a build.
func idle(ctx context.Context) (url string, stop func(), err error) {
	d := fake.New(fake.Config{}).Open("workers")
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "registry.example/wharf/worker:1", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s := httptest.NewServer(p.Handler(provisioner.Gate{Tokens: map[string]string{"watchdog": "secret"}}))
	return s.URL, func() { cancel(); <-done; s.Close(); d.Close() }, nil
}

// wharf-api takes a build for active whose worker does not exist: the request for it was lost.
func Example() {
	ctx := context.Background()
	api, err := wharfapitest.Start(wharfapitest.Options{})
	if err != nil {
		panic(err)
	}
	defer api.Close()
	api.Add(7)
	at, stop, err := idle(ctx)
	if err != nil {
		panic(err)
	}
	defer stop()
	provisioner, err := client.New(at, "secret", client.Options{})
	if err != nil {
		panic(err)
	}
	for e, err := range provisioner.Events(ctx) { // until it knows its runtime
		if err != nil {
			panic(err)
		}
		if e.Kind == client.Synced {
			break
		}
	}
	s, err := wharfapi.New(api.URL(), wharfapi.Options{Settle: time.Millisecond}) // nobody else writes
	if err != nil {
		panic(err)
	}
	defer s.Close()
	w, err := watchdog.New(watchdog.Config{Sink: s, Provisioners: []*client.Client{provisioner}, Grace: 100 * time.Millisecond, Every: 50 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	found, err := w.Once(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", found)
	fmt.Println(api.Build(7).Status)
	fmt.Println(strings.HasPrefix(api.Build(7).Lines[0].Message, watchdog.Words))
	// Output:
	// {Builds:1 Workers:0}
	// Failed
	// true
}
