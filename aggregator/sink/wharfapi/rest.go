package wharfapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/oauth2"

	"github.com/wharfci/wharf/aggregator/sink"
)

// rest speaks the REST API.
type rest struct {
	base    *url.URL
	token   oauth2.TokenSource
	timeout time.Duration
	client  *http.Client
}

// request is a call. Body is sent as it is.
type request struct {
	method, path string
	query        url.Values
	body         io.Reader
	length       int64
	contentType  string
	progress     func(stalled func()) (stop func()) // for a body that takes its time; nil bounds the whole call
}

// call makes a call, and has read, if that is not nil, take the answer. Errors are classified.
func (r *rest) call(ctx context.Context, req request, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := func() {
		cancel(errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("wharf-api does not answer within %s", r.timeout)))
	}
	if req.progress != nil {
		defer req.progress(stalled)()
	} else {
		t := time.AfterFunc(r.timeout, stalled)
		defer t.Stop()
		if inner := read; inner != nil { // a long answer may take its time, if it goes on
			read = func(body io.Reader) error { return inner(&lively{body, t, r.timeout}) }
		}
	}
	err := r.try(ctx, req, read)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("wharf-api: %s %s: %w", req.method, req.path, err)
	}
	return nil
}

// lively puts a timer off with every read.
type lively struct {
	io.Reader
	timer *time.Timer
	by    time.Duration
}

func (l *lively) Read(p []byte) (int, error) {
	l.timer.Reset(l.by)
	return l.Reader.Read(p)
}

func (r *rest) try(ctx context.Context, req request, read func(io.Reader) error) error {
	u := *r.base
	u.Path, u.RawQuery = req.path, req.query.Encode()
	hr, err := http.NewRequestWithContext(ctx, req.method, u.String(), req.body)
	if err != nil {
		return err
	}
	if req.body != nil {
		hr.ContentLength = req.length
		hr.Header.Set("Content-Type", req.contentType)
	}
	hr.Header.Set("Accept", "application/json")
	auth, err := r.authorization()
	if err != nil {
		return err
	}
	if auth != "" {
		hr.Header.Set("Authorization", auth)
	}
	res, err := r.client.Do(hr)
	if err != nil {
		return unwrapped(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusTemporaryRedirect, res.StatusCode == http.StatusPermanentRedirect:
		return r.moved(res)
	case res.StatusCode/100 != 2:
		return problem(res)
	}
	if read != nil {
		err = read(res.Body)
	}
	// The rest is read so that the connection can be used again.
	_, rest := io.CopyN(io.Discard, res.Body, 64<<10)
	if err == nil && rest != nil && !errors.Is(rest, io.EOF) {
		err = rest
	}
	return err
}

// authorization is what a call shows; empty is nothing.
func (r *rest) authorization() (string, error) {
	if r.token == nil {
		return "", nil
	}
	t, err := r.token.Token()
	if err != nil {
		return "", errdefs.ErrUnauthenticated.WithMessage("there is no token: " + err.Error())
	}
	return t.Type() + " " + t.AccessToken, nil
}

// moved is where a request is to be sent again, on the same host and no other.
type moved struct{ path string }

func (m moved) Error() string { return "it is to be sent to " + m.path }

// moved says where an answer sends a request.
func (r *rest) moved(res *http.Response) error {
	to, err := res.Location()
	if err != nil || to.Host != r.base.Host || to.Scheme != r.base.Scheme {
		return errdefs.ErrUnavailable.WithMessage(res.Status + ": it would be sent elsewhere; give the URL of wharf-api itself")
	}
	return moved{to.Path}
}

// unwrapped is an error of the client without method and URL, which the caller tells.
func unwrapped(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errdefs.IsInvalidArgument(err) { // of what is sent, not of the connection
		return err
	}
	return errdefs.ErrUnavailable.WithMessage(err.Error())
}

// problem is the error that an answer stands for, with wharf-api's own words.
func problem(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	words := strings.TrimSpace(string(text))
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); strings.HasSuffix(kind, "json") {
		var p struct{ Title, Detail string }
		if json.Unmarshal(text, &p) == nil && p.Title+p.Detail != "" {
			words = strings.TrimPrefix(p.Title+": "+p.Detail, ": ")
		}
	}
	if len(words) > 500 {
		words = words[:500] + " …"
	}
	words = strings.TrimSuffix(res.Status+": "+strings.ToValidUTF8(words, "?"), ": ")
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated.WithMessage(words)
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied.WithMessage(words)
	case http.StatusNotFound:
		return errdefs.ErrNotFound.WithMessage(words)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return errdefs.ErrInvalidArgument.WithMessage(words)
	}
	return errdefs.ErrUnavailable.WithMessage(words)
}

// into decodes an answer.
func into(v any) func(io.Reader) error {
	return func(body io.Reader) error {
		if err := json.NewDecoder(body).Decode(v); err != nil {
			return fmt.Errorf("the answer cannot be read: %w", err)
		}
		return nil
	}
}

// setStatus sets the state of a build.
func (r *rest) setStatus(ctx context.Context, build uint64, s sink.Status) error {
	body, err := json.Marshal(map[string]sink.Status{"status": s})
	if err != nil {
		return err
	}
	return r.call(ctx, request{method: http.MethodPut, path: of(build, "status"), body: bytes.NewReader(body), length: int64(len(body)), contentType: "application/json"}, nil)
}

// of is the path of something of a build.
func of(build uint64, what string) string {
	return "/api/build/" + strconv.FormatUint(build, 10) + "/" + what
}

// countLines counts the lines that are stored of a build, and how many of them there are from the last one on that begins with a prefix, if that is not empty.
func (r *rest) countLines(ctx context.Context, build uint64, prefix string) (n, since uint64, err error) {
	err = r.eachLine(ctx, build, func(element json.RawMessage) error {
		n++
		if since > 0 {
			since++
		}
		if prefix == "" {
			return nil
		}
		var line struct{ Message string }
		err := json.Unmarshal(element, &line)
		if strings.HasPrefix(line.Message, prefix) {
			since = 1
		}
		return err
	})
	return n, since, err
}

// eachLine calls f with every line that is stored of a build, which is good until f returns. None is kept.
func (r *rest) eachLine(ctx context.Context, build uint64, f func(json.RawMessage) error) error {
	return r.call(ctx, request{method: http.MethodGet, path: of(build, "log")}, func(body io.Reader) error {
		if err := eachElement(body, f); err != nil {
			return fmt.Errorf("the list of lines cannot be read: %w", err)
		}
		return nil
	})
}

// eachElement calls f with every element of a JSON array; null is an empty one.
func eachElement(body io.Reader, f func(json.RawMessage) error) error {
	dec := json.NewDecoder(body)
	open, err := dec.Token()
	if err == nil && open == nil {
		return nil
	}
	if err == nil && open != json.Delim('[') {
		err = fmt.Errorf("it begins with %v", open)
	}
	var element json.RawMessage
	for err == nil && dec.More() {
		element = element[:0]
		if err = dec.Decode(&element); err == nil {
			err = f(element)
		}
	}
	if err == nil {
		_, err = dec.Token()
	}
	return err
}

// pages calls each with every element of a list. It asks for all of it at once: of a list that changes, an element may be missed between two pages, as it must be of a wharf-api that does not tell so many.
func pages[T any](ctx context.Context, r *rest, path string, query url.Values, each func(*T)) error {
	limit := page
	for offset := 0; ; {
		var answer struct {
			List       []T
			TotalCount int
		}
		query.Set("limit", strconv.Itoa(limit))
		query.Set("offset", strconv.Itoa(offset))
		if err := r.call(ctx, request{method: http.MethodGet, path: path, query: query}, into(&answer)); err != nil {
			return err
		}
		if len(answer.List) == limit && answer.TotalCount > limit && offset == 0 {
			limit = answer.TotalCount + page
			continue
		}
		for i := range answer.List {
			each(&answer.List[i])
		}
		offset += len(answer.List)
		if len(answer.List) == 0 || offset >= answer.TotalCount {
			return nil
		}
	}
}

// files returns the names of the files that are stored of a build.
func (r *rest) files(ctx context.Context, build uint64) (map[string]bool, error) {
	type element struct{ FileName string }
	names := map[string]bool{}
	err := pages(ctx, r, of(build, "artifact"), url.Values{}, func(e *element) { names[e.FileName] = true })
	return names, err
}

// active returns the builds that have not ended.
func (r *rest) active(ctx context.Context) (all []sink.Build, err error) {
	type element struct {
		BuildID     uint64 `json:"buildId"`
		Status      sink.Status
		ScheduledOn time.Time
		WorkerID    string `json:"workerId"`
		Engine      struct{ ID string }
	}
	seen := map[uint64]bool{}
	q := url.Values{"status": {string(sink.Scheduling), string(sink.Running)}}
	err = pages(ctx, r, "/api/build", q, func(e *element) {
		if seen[e.BuildID] || e.Status.Final() { // it has moved between two pages
			return
		}
		seen[e.BuildID] = true
		all = append(all, sink.Build{ID: e.BuildID, Status: e.Status, Scheduled: e.ScheduledOn, Worker: e.WorkerID, Engine: e.Engine.ID})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
