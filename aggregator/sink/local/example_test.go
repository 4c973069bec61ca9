package local_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// A build is reported, and read.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "builds")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := local.Open(dir, local.Options{Keep: 30 * 24 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	turn := sink.Turn{Fence: func() time.Time { return time.Now().Add(time.Minute) }, Clean: true}
	build := s.Open(7, turn)
	defer build.Close()
	n, err := build.Lines(ctx)
	if err == nil {
		err = build.Append(ctx, n, []sink.Line{{Time: time.Now(), Text: []byte("hello")}})
	}
	if err == nil {
		err = build.Commit(ctx)
	}
	if err == nil {
		err = build.SetStatus(ctx, sink.Completed)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := build.Status(ctx)
	fmt.Println(n, status, err)
	// Output: 0 Completed <nil>
}

// The log of a build, as text. A server would be http.Server{Handler: s.Handler()}.
func ExampleStore_Handler() {
	dir, err := os.MkdirTemp("", "builds")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := local.Open(dir, local.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	build := s.Open(7, sink.Turn{Fence: func() time.Time { return time.Now().Add(time.Minute) }})
	_ = build.Append(context.Background(), 0, []sink.Line{{Text: []byte("one")}, {Text: []byte("two")}})
	_ = build.Commit(context.Background())

	r := httptest.NewRequest("GET", "/api/build/7/log?after=1", nil)
	r.Header.Set("Accept", "text/plain")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output: two
}

// Builds that ended long ago are removed by hand; with Options.Keep that is done every hour.
func ExampleStore_Expire() {
	dir, err := os.MkdirTemp("", "builds")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := local.Open(dir, local.Options{Keep: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	n, err := s.Expire(context.Background())
	fmt.Println(n, err)
	// Output: 0 <nil>
}
