package provisioner

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func request(query, body string, header ...string) *http.Request {
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/api/worker", RawQuery: query}, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

const (
	asForm = "application/x-www-form-urlencoded"
	asJSON = "application/json"
)

func TestParameters(t *testing.T) {
	for name, c := range map[string]struct {
		query, body string
		header      []string
		want        map[string]string
	}{
		"a query":           {query: "a=1&b=%C3%A9+x", want: map[string]string{"a": "1", "b": "é x"}},
		"empty":             {query: "a=&b", want: map[string]string{"a": "", "b": ""}},
		"no type, no body":  {query: "a=1", header: []string{"Content-Type", ""}, want: map[string]string{"a": "1"}},
		"a form":            {query: "a=1", body: "b=2", header: []string{"Content-Type", asForm}, want: map[string]string{"a": "1", "b": "2"}},
		"twice the same":    {query: "a=1&a=1", body: "a=1", header: []string{"Content-Type", asForm}, want: map[string]string{"a": "1"}},
		"JSON":              {body: `{"a": "x", "n": null, "t": true, "f": 1.50, "e": 1e3, "big": 12345678901234567890}`, header: []string{"Content-Type", asJSON}, want: map[string]string{"a": "x", "t": "true", "f": "1.50", "e": "1e3", "big": "12345678901234567890"}},
		"nested":            {body: `{"VARS": {"a": [1]}, "x": [ 1, {} ]}`, header: []string{"Content-Type", asJSON}, want: map[string]string{"VARS": `{"a": [1]}`, "x": `[ 1, {} ]`}},
		"escaped":           {body: `{"a\u0062": "\u00e9\n"}`, header: []string{"Content-Type", asJSON}, want: map[string]string{"ab": "é\n"}},
		"a mark in front":   {body: "\ufeff{\"a\": 1}", header: []string{"Content-Type", asJSON}, want: map[string]string{"a": "1"}},
		"a number twice":    {query: "a=1", body: `{"a": 1}`, header: []string{"Content-Type", asJSON}, want: map[string]string{"a": "1"}},
		"a kind of JSON":    {body: `{"a": 1}`, header: []string{"Content-Type", "application/cloudevents+json; charset=UTF-8"}, want: map[string]string{"a": "1"}},
		"identity":          {body: `{}`, header: []string{"Content-Type", asJSON, "Content-Encoding", "identity"}, want: map[string]string{}},
		"space around JSON": {body: " \n{} \n", header: []string{"Content-Type", asJSON}, want: map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parameters(request(c.query, c.body, c.header...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParametersRefused(t *testing.T) {
	for name, c := range map[string]struct {
		query, body string
		header      []string
		status      int
		want        string // in the problem
	}{
		"twice in the query":      {query: "a=1&a=2", status: 400, want: "a: is given twice"},
		"in query and form":       {query: "a=1", body: "a=2", header: []string{"Content-Type", asForm}, status: 400, want: "a: is given twice"},
		"in query and JSON":       {query: "a=1", body: `{"a":2}`, header: []string{"Content-Type", asJSON}, status: 400, want: "a: is given twice"},
		"twice in JSON":           {body: `{"a":1,"a":2}`, header: []string{"Content-Type", asJSON}, status: 400, want: "a: is given twice"},
		"a wrong query":           {query: "a=%zz", status: 400, want: "query: "},
		"a semicolon":             {query: "a=1;b=2", status: 400, want: "query: "},
		"a wrong form":            {body: "a=%zz", header: []string{"Content-Type", asForm}, status: 400, want: "body: is no valid form"},
		"a list":                  {body: "[1]", header: []string{"Content-Type", asJSON}, status: 400, want: "body: is no JSON object"},
		"half an object":          {body: `{"a": 1`, header: []string{"Content-Type", asJSON}, status: 400, want: "body: is no JSON object"},
		"two objects":             {body: `{"a": 1} {}`, header: []string{"Content-Type", asJSON}, status: 400, want: "behind its JSON object"},
		"no JSON":                 {body: `{a: 1}`, header: []string{"Content-Type", asJSON}, status: 400, want: "body: is no JSON object"},
		"no UTF-8":                {body: "{\"a\": \"\xff\"}", header: []string{"Content-Type", asJSON}, status: 400, want: "UTF-8"},
		"a number in an object":   {body: `{"BUILD_REF": {"a": 1}}`, header: []string{"Content-Type", asJSON}, status: 400, want: "BUILD_REF: must be text"},
		"a list of tokens":        {body: `{"token": ["a"]}`, header: []string{"Content-Type", asJSON}, status: 400, want: "token: must be text"},
		"UTF-16":                  {body: "\xff\xfe{\x00}\x00", header: []string{"Content-Type", "application/json; charset=utf-16"}, status: 415, want: "must be UTF-8"},
		"UTF-16 that is not said": {body: "\xff\xfe{\x00}\x00", header: []string{"Content-Type", asJSON}, status: 400, want: "UTF-8"},
		"gzip":                    {body: "\x1f\x8b\x08", header: []string{"Content-Type", asJSON, "Content-Encoding", "gzip"}, status: 415, want: "without compression"},
		"multipart":               {body: "--x\r\n", header: []string{"Content-Type", "multipart/form-data; boundary=x"}, status: 415, want: `"multipart/form-data; boundary=x": must be application/json`},
		"text":                    {body: "x", header: []string{"Content-Type", "text/plain"}, status: 415, want: "must be application/json"},
		"no type":                 {body: "x", status: 415, want: "must be application/json"},
		"a wrong type":            {body: "x", header: []string{"Content-Type", ";;"}, status: 415, want: "must be application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parameters(request(c.query, c.body, c.header...))
			if err == nil {
				t.Fatal("it is taken")
			}
			if p := problemOf(err); p.Status != c.status || !strings.Contains(p.Detail, c.want) {
				t.Errorf("%d, %q; want %d, %q", p.Status, p.Detail, c.status, c.want)
			}
		})
	}
	cut := request("", "", "Content-Type", asJSON)
	cut.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := parameters(cut); problemOf(err).Status != http.StatusBadRequest {
		t.Errorf("a body that is cut off: %v", err)
	}
}

func FuzzParameters(f *testing.F) {
	f.Add("a=1&b=2", asJSON, "", `{"a": 1, "b": [null, {"c": "d"}]}`)
	f.Add("token=x", asForm, "", "a=1&%20=+")
	f.Add("", "application/x+json;charset=utf-8", "identity", "\ufeff{}")
	f.Add("", "multipart/form-data; boundary=x", "gzip", "--x--")
	f.Fuzz(func(t *testing.T, query, kind, encoding, body string) {
		got, err := parameters(request(query, body, "Content-Type", kind, "Content-Encoding", encoding))
		if err == nil {
			if len(body) > 0 && strings.HasSuffix(kind, "json") && !utf8.ValidString(body) {
				t.Errorf("no text is taken as %v", got)
			}
			return
		}
		var problem *Problem
		var parameter *ParameterError
		if !errors.As(err, &problem) && !errors.As(err, &parameter) {
			t.Errorf("an error of no kind: %v", err)
		}
		if p := problemOf(err); p.Status < 400 || p.Status > 499 {
			t.Errorf("the request is no fault of the client: %+v", p)
		}
	})
}
