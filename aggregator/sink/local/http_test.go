package local_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
)

// filled is a store with builds 1 to 5: Scheduling, Running, Completed, Failed, Running.
func filled(t *testing.T) *local.Store {
	s := open(t, t.TempDir(), local.Options{})
	for i, states := range [][]sink.Status{{sink.Scheduling}, {sink.Running}, {sink.Running, sink.Completed}, {sink.Failed}, {sink.Running}} {
		r := s.Open(uint64(i+1), forever)
		for _, status := range states {
			if err := r.SetStatus(t.Context(), status); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func TestBuilds(t *testing.T) {
	h := filled(t).Handler()
	for path, want := range map[string]struct {
		ids   []uint64
		total int
	}{
		"/api/build":                                              {[]uint64{5, 4, 3, 2, 1}, 5},
		"/api/build?limit=2":                                      {[]uint64{5, 4}, 5},
		"/api/build?limit=2&offset=3":                             {[]uint64{2, 1}, 5},
		"/api/build?offset=9":                                     {nil, 5},
		"/api/build?limit=0":                                      {nil, 5},
		"/api/build?status=Running":                               {[]uint64{5, 2}, 2},
		"/api/build?status=Running&limit=1&offset=1":              {[]uint64{2}, 2},
		"/api/build?status=Failed&status=Completed&status=Failed": {[]uint64{4, 3}, 2},
	} {
		list, err := fetch[buildList](h, path)
		if err != nil {
			t.Error(err)
			continue
		}
		var ids []uint64
		for _, b := range list.List {
			ids = append(ids, b.BuildID)
		}
		if diff := cmp.Diff(want.ids, ids); diff != "" || list.TotalCount != want.total {
			t.Errorf("%s: %d of %d\n%s", path, len(ids), list.TotalCount, diff)
		}
	}
}

// An empty store has an empty list, and not null.
func TestNoBuilds(t *testing.T) {
	_, _, body := get(t, open(t, t.TempDir(), local.Options{}), "/api/build")
	if want := `{"list":[],"totalCount":0}`; strings.TrimSpace(body) != want {
		t.Errorf("it answers %s; want %s", body, want)
	}
}

func TestBuild(t *testing.T) {
	s := filled(t)
	b, err := fetch[oneBuild](s.Handler(), "/api/build/3")
	if err != nil {
		t.Fatal(err)
	}
	if b.BuildID != 3 || b.Status != sink.Completed || b.StatusID != 2 || len(b.History) != 3 {
		t.Errorf("the build is %+v", b)
	}
	if b.ScheduledOn == nil || b.StartedOn == nil || b.FinishedOn == nil || b.StartedOn.Before(*b.ScheduledOn) || b.FinishedOn.Before(*b.StartedOn) {
		t.Errorf("the times are %v, %v and %v", b.ScheduledOn, b.StartedOn, b.FinishedOn)
	}
	for i, want := range []sink.Status{sink.Scheduling, sink.Running, sink.Completed} {
		if i < len(b.History) && (b.History[i].Status != want || b.History[i].Time.IsZero()) {
			t.Errorf("change %d is %+v", i, b.History[i])
		}
	}
	_, _, body := get(t, s, "/api/build/1")
	for _, want := range []string{`"startedOn":null`, `"finishedOn":null`, `"isInvalid":false`, `"workerId":""`, `"statusId":0`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
}

func TestPing(t *testing.T) {
	code, _, body := get(t, open(t, t.TempDir(), local.Options{}), "/api/ping")
	if code != http.StatusOK || strings.TrimSpace(body) != `{"message":"pong"}` {
		t.Errorf("it answers %d %s", code, body)
	}
}

// What cannot be answered is a problem, as RFC 7807 has them.
func TestProblems(t *testing.T) {
	s := filled(t)
	check := func(method, path string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		var p struct {
			Type, Title, Detail, Instance string
			Status                        int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s %s: %v: %s", method, path, err, w.Body)
			return
		}
		if w.Code != want || p.Status != want || p.Type == "" || p.Title == "" || p.Detail == "" || p.Instance == "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d, %s, %+v; want %d", method, path, w.Code, w.Header().Get("Content-Type"), p, want)
		}
	}
	for path, want := range map[string]int{
		"/api/build/99": 404, "/api/build/99/log": 404, "/api/build/99/artifact": 404, "/api/build/1/artifact/7": 404, "/": 404, "/api/build/1/unknown": 404,
		"/api/build/0": 400, "/api/build/x": 400, "/api/build/-1": 400, "/api/build/18446744073709551616": 400, "/api/build/1/artifact/x": 400,
		"/api/build?status=Ended": 400, "/api/build?limit=-1": 400, "/api/build?limit=1001": 400, "/api/build?offset=x": 400, "/api/build?limit=": 400,
		"/api/build/1/log?after=-1": 400, "/api/build/1/log?limit=x": 400, "/api/build/1/log?follow=perhaps": 400,
	} {
		check(http.MethodGet, path, want)
	}
	check(http.MethodPost, "/api/build", 405)
	check(http.MethodPut, "/api/build/1/status", 405)
	check(http.MethodDelete, "/api/build/1", 405)
}

func TestLog(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	r := s.Open(1, forever)
	const all = 20_000 // in blocks of several sizes
	for at, n := 0, 1; at < all; n = 3*n + 1 {
		n := min(n, all-at)
		write(t, r, at, n)
		at += n
	}
	for _, c := range []struct{ after, limit int }{{0, 1}, {0, 0}, {0, all}, {1, 5}, {all - 1, 10}, {all, 10}, {all + 5, 1}, {777, 12_000}, {5_000, 3}, {13, 13}} {
		log, err := fetch[[]logLine](s.Handler(), fmt.Sprintf("/api/build/1/log?after=%d&limit=%d", c.after, c.limit))
		if err != nil {
			t.Error(err)
			continue
		}
		if want := max(0, min(c.limit, all-c.after)); len(log) != want {
			t.Errorf("after %d, limit %d: %d lines; want %d", c.after, c.limit, len(log), want)
		}
		for i, l := range log {
			if n := c.after + i; l.LogID != uint64(n)+1 || l.Message != fmt.Sprintf("line %d", n) || l.Timestamp.Nanosecond() != n {
				t.Fatalf("after %d: element %d is %+v", c.after, i, l)
			}
		}
	}
}

func TestLogAsText(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	write(t, s.Open(1, forever), 0, 3)
	if err := s.Open(2, forever).SetStatus(t.Context(), sink.Failed); err != nil {
		t.Fatal(err)
	}
	for accept, text := range map[string]bool{"": false, "*/*": false, "application/json": false, "text/plain": true, "text/plain; charset=utf-8": true, "application/json, text/plain;q=0.5": false, "application/json;q=0.1, text/plain": true, "text/plain;q=0": false, ";;,,": false} {
		_, header, body := get(t, s, "/api/build/1/log?after=1", "Accept", accept)
		kind := "application/json"
		if text {
			kind = "text/plain; charset=utf-8"
		}
		if got := header.Get("Content-Type"); got != kind {
			t.Errorf("Accept %q: %s", accept, got)
		}
		if text && body != "line 1\nline 2\n" {
			t.Errorf("Accept %q: %q", accept, body)
		}
	}
	if _, _, body := get(t, s, "/api/build/2/log"); body != "[]\n" {
		t.Errorf("an empty log is %q", body)
	}
	if _, _, body := get(t, s, "/api/build/2/log", "Accept", "text/plain"); body != "" {
		t.Errorf("an empty log is %q as text", body)
	}
}

func TestDownload(t *testing.T) {
	s := open(t, t.TempDir(), local.Options{})
	put(t, s.Open(1, forever), `<b> "ü".html`, "<script>")
	code, header, body := get(t, s, "/api/build/1/artifact/1", "Range", "bytes=1-3")
	if code != http.StatusPartialContent || body != "scr" {
		t.Errorf("a part of it is %d %q", code, body)
	}
	for name, want := range map[string]string{"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment; filename*=utf-8''%3Cb%3E%20%22%C3%BC%22.html"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	if code, _, _ := get(t, s, "/api/build/1/artifact/1", "If-None-Match", header.Get("ETag")); code != http.StatusNotModified {
		t.Errorf("who has it already gets %d", code)
	}
	put(t, s.Open(2, forever), "a", "b")
	if code, _, _ := get(t, s, "/api/build/2/artifact/1"); code != http.StatusNotFound {
		t.Errorf("the file of another build is %d", code)
	}
}
