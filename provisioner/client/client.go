// Package client calls the API of a provisioner.
package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// Client calls one provisioner. It may be used by many goroutines at once.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	// silence is how long a stream may say nothing before it is taken for broken.
	silence time.Duration
}

// Options of a client; the zero value is good.
type Options struct {
	// HTTP makes the requests; nil is a client without a time-out, since a deletion waits for a build to end.
	HTTP *http.Client
	// Silence is how long a stream of changes may say nothing before its connection is taken for broken; 0 is a minute. The provisioner says something every 15 seconds.
	Silence time.Duration
}

// New returns a client for the provisioner at a URL, such as "https://provisioner.example:5009", which shows it a token. It connects to nothing yet.
func New(address, token string, opts Options) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("provisioner %q: must be a URL such as https://provisioner.example:5009", address)
	}
	c := &Client{base: base, token: token, http: opts.HTTP, silence: cmp.Or(opts.Silence, time.Minute)}
	if c.http == nil {
		c.http = &http.Client{}
	}
	return c, nil
}

// do makes a request. What the provisioner refuses is a [*provisioner.Problem]. The caller closes the body.
func (c *Client) do(ctx context.Context, method string, query url.Values, body io.Reader, path ...string) (*http.Response, error) {
	u := c.base.JoinPath(path...)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what cannot be read is no problem document
	problem := &provisioner.Problem{}
	if err := json.Unmarshal(text, problem); err != nil || problem.Status == 0 {
		return nil, fmt.Errorf("%s %s: %s, and no problem document: %.200q", method, u.Path, res.Status, text)
	}
	return nil, problem
}

// call makes a request and reads its answer into v, if that is not nil.
func (c *Client) call(ctx context.Context, method string, query url.Values, body io.Reader, v any, path ...string) error {
	res, err := c.do(ctx, method, query, body, path...)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if v == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(v)
}

// String returns the provisioner's URL, without a password.
func (c *Client) String() string { return c.base.Redacted() }

// Ready returns nil if the provisioner's runtime answers. One that is not ready may still answer the other calls, with what it knew before. It needs no token.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, nil, nil, nil, "readyz")
}

// Trigger asks for a build, with the parameters that [provisioner.ParseTrigger] knows; they travel in the body, where no log has them. The same build of the same
// instance is made once: asking again, after an answer that was lost, is safe.
func (c *Client) Trigger(ctx context.Context, parameters map[string]string) (w provisioner.Worker, err error) {
	body, err := json.Marshal(parameters)
	if err != nil {
		return w, err
	}
	err = c.call(ctx, http.MethodPost, nil, strings.NewReader(string(body)), &w, "api", "worker")
	return w, err
}

// Workers returns the workers that are in one of the states, or all.
func (c *Client) Workers(ctx context.Context, states ...provisioner.State) ([]provisioner.Worker, error) {
	query := url.Values{}
	for _, s := range states {
		query.Add("state", string(s))
	}
	var l provisioner.List
	err := c.call(ctx, http.MethodGet, query, nil, &l, "api", "worker")
	return l.Workers, err
}

// Worker returns one worker; a problem with status 404 says that there is none.
func (c *Client) Worker(ctx context.Context, id string) (w provisioner.Worker, err error) {
	err = c.call(ctx, http.MethodGet, nil, nil, &w, "api", "worker", id)
	return w, err
}

// Delete stops a worker and removes it. It returns when nothing of it is left: a build that runs has the provisioner's time of grace to end.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, nil, nil, nil, "api", "worker", id)
}

// Prune removes the workers that ended longer ago than that, and returns their IDs. If there are some that could not be removed, the error says of each why.
func (c *Client) Prune(ctx context.Context, olderThan time.Duration) ([]string, error) {
	var p provisioner.Pruned
	err := c.call(ctx, http.MethodPost, url.Values{"olderThan": {olderThan.String()}}, nil, &p, "api", "prune")
	if len(p.Failed) > 0 {
		err = fmt.Errorf("%d workers could not be removed:\n%s", len(p.Failed), strings.Join(p.Failed, "\n"))
	}
	return p.Removed, err
}
