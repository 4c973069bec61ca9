package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// follow asks a server for a log that goes on.
func follow(t *testing.T, ctx context.Context, server *httptest.Server, path string, accept string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func serve(t *testing.T, s *local.Store) *httptest.Server {
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server
}

// A log that is followed has each line as soon as it is stored, and ends with its build.
func TestFollow(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	server := serve(t, s)
	r := s.Open(1, forever)
	write(t, r, 0, 3)
	text := bufio.NewScanner(follow(t, t.Context(), server, "/api/build/1/log?follow=true&after=1", "text/plain").Body)
	asJSON := follow(t, t.Context(), server, "/api/build/1/log?follow=1", "application/json")
	const all = 50
	at := 3
	for i := 1; i < all; i++ {
		if i == at {
			write(t, r, at, 1)
			at++
		}
		if !text.Scan() {
			t.Fatalf("the log ends at line %d: %v", i, text.Err())
		}
		if want := fmt.Sprintf("line %d", i); text.Text() != want {
			t.Fatalf("%q follows; want %q", text.Text(), want)
		}
	}
	if err := r.SetStatus(t.Context(), sink.Running); err != nil {
		t.Fatal(err)
	}
	if err := r.SetStatus(t.Context(), sink.Completed); err != nil {
		t.Fatal(err)
	}
	if text.Scan() || text.Err() != nil {
		t.Errorf("after the end of the build: %q, %v", text.Text(), text.Err())
	}
	var log []logLine
	if err := json.NewDecoder(asJSON.Body).Decode(&log); err != nil || len(log) != all {
		t.Errorf("as JSON there are %d lines: %v", len(log), err)
	}
}

// A limit ends it too.
func TestFollowLimit(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	server := serve(t, s)
	write(t, s.Open(1, forever), 0, 5)
	body, err := io.ReadAll(follow(t, t.Context(), server, "/api/build/1/log?follow=true&after=1&limit=2", "text/plain").Body)
	if err != nil || string(body) != "line 1\nline 2\n" {
		t.Errorf("%q, %v", body, err)
	}
}

// When the store is closed, who follows does not take what he has for the whole.
func TestFollowClose(t *testing.T) {
	s, err := local.Open(t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, s)
	write(t, s.Open(1, forever), 0, 1)
	body := bufio.NewReader(follow(t, t.Context(), server, "/api/build/1/log?follow=true", "text/plain").Body)
	if l, err := body.ReadString('\n'); err != nil {
		t.Fatal(l, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(body); err == nil {
		t.Errorf("the log ends as if it were whole: %q", rest)
	}
}

// Who goes away is not waited for.
func TestFollowGone(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		s.Handler().ServeHTTP(w, r)
	}))
	defer server.Close()
	write(t, s.Open(1, forever), 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	res := follow(t, ctx, server, "/api/build/1/log?follow=true", "text/plain")
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
}
