package podman

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver/internal/conns"
)

// client speaks HTTP to a Podman service. It is a plain one: the service's own Go client brings some hundred packages
// for what are two dozen calls here.
type client struct {
	network, address string
	conns            conns.List
	http             *http.Client
	hook             func(*http.Request) // may be nil
}

// apiVersion is in the path of each call. Services answer to every version that is not newer than their own.
const apiVersion = "v4.0.0"

func newClient(h host) *client {
	c := &client{network: h.network, address: h.address}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		MaxIdleConns: 32, MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}}
	return c
}

func (c *client) dial(ctx context.Context) (net.Conn, error) {
	return c.conns.Dialer(new(net.Dialer).DialContext)(ctx, c.network, c.address)
}

func (c *client) Close() error {
	c.conns.Close(errClosed)
	c.http.CloseIdleConnections()
	return nil
}

// apiError is what the service answered.
type apiError struct {
	status  int
	Message string `json:"message"`
	Cause   string `json:"cause"`
}

func (e *apiError) Error() string { return e.Message }

// Unwrap returns the class that the status stands for.
func (e *apiError) Unwrap() error {
	if strings.Contains(e.Message, "does not exist in database") || strings.Contains(e.Message, "no such container") || strings.Contains(e.Message, "no such volume") {
		return errdefs.ErrNotFound // whatever the status: it was removed while the service looked at it
	}
	switch e.status {
	case http.StatusNotFound:
		return errdefs.ErrNotFound
	case http.StatusConflict:
		return errdefs.ErrConflict
	case http.StatusBadRequest:
		return errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	}
	return errdefs.ErrInternal
}

// answered reports whether the service itself refused.
func answered(err error) bool {
	var e *apiError
	return errors.As(err, &e)
}

func (c *client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var r io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r, kind = b, "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(data)
	}
	u := "http://podman/" + apiVersion + "/libpod" + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if c.hook != nil {
		c.hook(req)
	}
	return req, nil
}

// send returns the answer, or an error with the service's words.
func (c *client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return resp, failure(resp)
}

// failure reads the error of an answer, if it is one, and closes it.
func failure(resp *http.Response) error {
	if resp.StatusCode < 400 {
		return nil
	}
	defer resp.Body.Close()
	e := &apiError{status: resp.StatusCode}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, e) != nil || e.Message == "" {
		e.Message = strings.TrimSpace(fmt.Sprintf("%s %s", resp.Status, text))
	}
	return e
}

// open calls the service and returns the body of its answer.
func (c *client) open(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// call calls the service and reads its answer into out, if that is not nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	answer, err := c.open(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

// stream is a connection of its own that the service has turned from HTTP into frames.
type stream struct {
	io.Reader // without the service's own words
	net.Conn
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func (s stream) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// hijack calls the service on a connection of its own, and keeps that.
func (c *client) hijack(ctx context.Context, path string, query url.Values, body any) (_ stream, err error) {
	req, err := c.request(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return stream{}, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	conn, err := c.dial(ctx)
	if err != nil {
		return stream{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := req.Write(conn); err != nil {
		return stream{}, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return stream{}, err
	}
	if err := failure(resp); err != nil {
		return stream{}, err
	}
	return stream{newSpoken(r), conn}, nil
}

func filters(f map[string][]string) url.Values {
	data, _ := json.Marshal(f) // strings always marshal
	return url.Values{"filters": {string(data)}}
}
