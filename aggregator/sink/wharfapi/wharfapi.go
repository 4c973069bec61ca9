// Package wharfapi is a sink that reports builds to wharf-api: lines by gRPC, all else by REST.
//
// # Exactly once
//
// wharf-api stores every line and every file that it gets, each time that it gets it, and tells what it has only as a whole. So:
//
//   - Lines are counted where a stream did not end with wharf-api's own number of them. A stream that breaks may leave lines under way: they are waited for until all that was sent has come, or nothing more
//     has for the time of Options.Settle. That is as far as can be known. What wharf-api stores after that, of a stream that has broken, is there twice.
//   - A file is listed before it is sent, if it may be there.
//   - A state that may be under way is looked for after the final one was set, and if it has come last, that is set again.
//   - A connection belongs to one build, and writes nothing after the end of its turn (see [sink.Fence]): a program that was stopped, and goes on when another has the build, writes nothing that stood
//     in its buffers.
package wharfapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/wharfci/wharf/aggregator/sink"
)

// Options say how to reach wharf-api. The zero value of every field is good.
type Options struct {
	// Token returns what is shown as "Authorization: Bearer …" with every call; see [golang.org/x/oauth2/clientcredentials] for OpenID Connect. Nil shows nothing.
	Token oauth2.TokenSource
	// TLS is used for https; nil is the system's certificates.
	TLS *tls.Config
	// Timeout is how long wharf-api may take for an answer, or to take the next part of what is sent; 0 is 30 seconds.
	Timeout time.Duration
	// Settle is how long nothing more must have come of what was under way when a connection broke; 0 is two seconds.
	Settle time.Duration
	// Dial makes connections, in place of TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Sink is a wharf-api. See [sink.Sink].
type Sink struct {
	base *url.URL
	opts Options
	rest *rest // for what belongs to no build
}

// New returns the sink for the wharf-api at a URL such as "https://wharf.example". It is not connected to yet.
func New(at string, opts Options) (*Sink, error) {
	base, err := url.Parse(at)
	if err != nil {
		return nil, fmt.Errorf("wharf-api: %w", err)
	}
	switch {
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("wharf-api: %q must be a URL such as https://wharf.example", base.Redacted())
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("wharf-api: %q must have no user, query or fragment", base.Redacted())
	case strings.Trim(base.Path, "/") != "" && strings.Trim(base.Path, "/") != "api":
		return nil, fmt.Errorf("wharf-api: %q must have no path: its gRPC API has none", base.Redacted())
	}
	base.Path = ""
	if opts.Timeout < 0 || opts.Settle < 0 {
		return nil, errors.New("wharf-api: Timeout and Settle must not be negative")
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.Settle == 0 {
		opts.Settle = 2 * time.Second
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	s := &Sink{base: base, opts: opts}
	s.rest = s.newREST(opts.Dial)
	return s, nil
}

// newREST returns a client that connects in a certain way.
func (s *Sink) newREST(dial func(context.Context, string, string) (net.Conn, error)) *rest {
	return &rest{base: s.base, token: s.opts.Token, timeout: s.opts.Timeout, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: s.opts.TLS, TLSHandshakeTimeout: s.opts.Timeout, IdleConnTimeout: idle,
			ReadBufferSize: 4 << 10, WriteBufferSize: 32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it would carry the token elsewhere
	}}
}

// idle is how long a connection is kept that nobody uses.
const idle = 30 * time.Second

// Open returns the sink's side of a build.
func (s *Sink) Open(build uint64, turn sink.Turn) sink.Report {
	r := &report{sink: s, build: build, turn: turn, setting: make(chan struct{}, 1)}
	if !turn.Clean {
		now := time.Now()
		r.unsure, r.since, r.file, r.status = true, now, now, now
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.dial = fenced(s.opts.Dial, turn.Fence)
	r.rest = s.newREST(r.dial)
	return r
}

// Ready returns nil if wharf-api answers, and takes the token.
func (s *Sink) Ready(ctx context.Context) error {
	return s.rest.call(ctx, request{method: http.MethodGet, path: "/api/version"}, nil)
}

// Close ends the connections that belong to no build.
func (s *Sink) Close() error {
	s.rest.client.CloseIdleConnections()
	return nil
}

// page is how many elements of a list are asked for at first; wharf-api tells a hundred if it is not asked for more.
const page = 500

// Active returns the builds that have not ended.
func (s *Sink) Active(ctx context.Context) ([]sink.Build, error) { return s.rest.active(ctx) }
