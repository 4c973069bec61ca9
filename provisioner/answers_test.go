package provisioner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// stubborn is a runtime that makes and removes nothing.
type stubborn struct{ driver.Driver }

func (s stubborn) Unwrap() driver.Driver { return s.Driver }

func (s stubborn) Create(context.Context, driver.TaskSpec) (driver.TaskID, error) {
	return "", driver.WithClass(errdefs.ErrPermissionDenied, "no more tasks")
}

func (s stubborn) Remove(context.Context, driver.TaskID) error {
	return driver.WithClass(errdefs.ErrPermissionDenied, "everything stays")
}

// TestAnswers has the API give every answer that its description has, and the checks of the client see to it that it has each that is given.
func TestAnswers(t *testing.T) {
	y := newYard()
	p := y.open(t, nil)
	bearer := []string{"Authorization", "Bearer " + engine}
	gate := provisioner.Gate{Tokens: map[string]string{"wharf-api": engine}, Verify: verify}
	d := serve(t, p, gate)
	next := 0
	params := func() string {
		m := asked()
		next++
		m["BUILD_REF"], m["token"] = strconv.Itoa(next), engine
		return query(m)
	}
	all := map[string]bool{}
	gather := func(d *described) {
		for a := range d.answers {
			all[a] = true
		}
	}
	calls := []struct{ method, path string }{{"GET", "/api/worker"}, {"GET", "/api/worker/x"}, {"DELETE", "/api/worker/x"}, {"POST", "/api/prune"}, {"POST", "/api/worker"}, {"POST", "/generic-webhook-trigger/invoke"}}
	triggers := []string{"/api/worker", "/generic-webhook-trigger/invoke"}

	for _, path := range triggers {
		same := path + "?" + params()
		d.want(201, "POST", same, nil)
		d.want(200, "POST", same, nil)
		d.want(400, "POST", path, nil, bearer...)
		d.want(413, "POST", path, strings.NewReader(strings.Repeat("x", 2<<20)), append(bearer, "Content-Type", "application/json")...)
		d.want(415, "POST", path, strings.NewReader("x"), bearer...)
		d.want(403, "POST", path+"?"+params(), nil, "Sec-Fetch-Site", "cross-site")
	}
	w := ask(t, p, trigger(1000))
	until(t, p, w.ID, provisioner.Succeeded)
	d.want(200, "GET", "/api/worker", nil, bearer...)
	d.want(200, "GET", "/api/worker/"+w.ID, nil, bearer...)
	d.want(204, "DELETE", "/api/worker/"+w.ID, nil, bearer...)
	d.want(404, "DELETE", "/api/worker/"+w.ID, nil, bearer...)
	d.want(404, "GET", "/api/worker/"+w.ID, nil, bearer...)
	d.want(400, "GET", "/api/worker?watch=maybe", nil, bearer...)
	d.want(200, "POST", "/api/prune", nil, bearer...)
	d.want(400, "POST", "/api/prune?olderThan=soon", nil, bearer...)
	for _, path := range []string{"/api/openapi.yaml", "/healthz", "/readyz", "/metrics"} {
		d.want(200, "GET", path, nil)
	}
	for _, c := range calls {
		d.want(401, c.method, c.path, nil)
		d.want(403, c.method, c.path, nil, "Authorization", "Bearer of another")
		d.want(503, c.method, c.path, nil, "Authorization", "Bearer in the night")
	}
	gather(d)

	away := newYard()
	gone := serve(t, away.open(t, nil), gate)
	away.Down()
	gone.want(503, "GET", "/readyz", nil)
	away.Up()
	gather(gone)

	busy := serve(t, p, provisioner.Gate{Open: true, Rate: 0.01})
	busy.want(200, "GET", "/api/openapi.yaml", nil)
	for _, c := range append(calls, struct{ method, path string }{"GET", "/metrics"}, struct{ method, path string }{"GET", "/api/openapi.yaml"}) {
		busy.want(429, c.method, c.path, nil)
	}
	gather(busy)

	local := serve(t, p, provisioner.Gate{Open: true})
	for _, c := range append(calls, struct{ method, path string }{"GET", "/metrics"}, struct{ method, path string }{"GET", "/api/openapi.yaml"},
		struct{ method, path string }{"GET", "/healthz"}, struct{ method, path string }{"GET", "/readyz"}) {
		local.want(421, c.method, c.path, nil, "Host", "evil.example")
	}
	gather(local)

	late := serve(t, p, provisioner.Gate{Open: true}, func(s *http.Server) { s.ReadTimeout = 200 * time.Millisecond })
	for _, path := range triggers {
		late.half(path)
	}
	gather(late)

	done := newYard()
	q := done.open(t, nil)
	ended := ask(t, q, trigger(1))
	until(t, q, ended.ID, provisioner.Succeeded)
	refuses := done.open(t, func(cfg *provisioner.Config) { cfg.Driver = stubborn{cfg.Driver} })
	until(t, refuses, ended.ID, provisioner.Succeeded)
	no := serve(t, refuses, provisioner.Gate{Open: true})
	for _, path := range triggers {
		no.want(500, "POST", path+"?"+params(), nil)
	}
	no.want(500, "DELETE", "/api/worker/"+ended.ID, nil)
	no.want(500, "POST", "/api/prune", nil)
	gather(no)

	var missing, unknown []string
	described := map[string]bool{}
	for _, item := range description(t).Paths.Map() {
		for _, op := range item.Operations() {
			for status := range op.Responses.Map() {
				described[op.OperationID+" "+status] = true
			}
		}
	}
	for a := range described {
		if !all[a] {
			missing = append(missing, a)
		}
	}
	for a := range all {
		if !described[a] {
			unknown = append(unknown, a)
		}
	}
	slices.Sort(missing)
	if len(missing)+len(unknown) > 0 {
		t.Errorf("described and never given: %q; given and not described: %q", missing, unknown)
	}
}

// half sends a request whose body never comes to its end, and wants it refused.
func (d *described) half(path string) {
	d.t.Helper()
	body, end := io.Pipe()
	defer end.Close()
	r, err := http.NewRequestWithContext(d.t.Context(), "POST", d.url+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = 100
	go end.Write([]byte("{"))
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	res, err := c.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if res.StatusCode != http.StatusRequestTimeout {
		d.t.Errorf("half a request: %s, %s", res.Status, text)
	}
	r.Body = io.NopCloser(bytes.NewReader(nil))
	d.check(r, res, string(text))
}

// TestDescribedStates: the states that may be asked for are those that are taken, and all that a worker which is there can have.
func TestDescribedStates(t *testing.T) {
	d := serve(t, newYard().open(t, nil), provisioner.Gate{Open: true})
	doc := description(t)
	offered := doc.Paths.Value("/api/worker").Get.Parameters.GetByInAndName("query", "state").Schema.Value.Items.Value.Enum
	for _, s := range offered {
		d.want(http.StatusOK, "GET", "/api/worker?state="+s.(string), nil)
	}
	for _, s := range doc.Components.Schemas["State"].Value.Enum {
		if taken := s != string(provisioner.Removed); taken != slices.Contains(offered, s) {
			t.Errorf("%s can be asked for: %v; it is offered: %v", s, taken, !taken)
		}
	}
	d.want(http.StatusBadRequest, "GET", "/api/worker?state=removed", nil)
}

// TestNulls: each parameter in JSON may be null, which is as if it was not there.
func TestNulls(t *testing.T) {
	d := serve(t, newYard().open(t, nil), provisioner.Gate{Open: true})
	for name := range description(t).Components.Schemas["Trigger"].Value.Properties {
		params := map[string]any{"BUILD_REF": 1, "GIT_FULLURL": "https://git.example.com/a/b.git", "GIT_BRANCH": "main"}
		query := ""
		if value, needed := params[name]; needed {
			query = fmt.Sprintf("?%s=%v", name, value)
		}
		params[name] = nil
		body, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		if status, _, text := d.do("POST", "/api/worker"+query, bytes.NewReader(body), "Content-Type", "application/json"); status >= 300 {
			t.Errorf("%s is null: %d %s", name, status, text)
		}
	}
}

// TestDescription: tools that read the description shall need nothing but plain YAML.
func TestDescription(t *testing.T) {
	for _, no := range []string{"<<:", ": &", ": *", "\t"} {
		if bytes.Contains(provisioner.OpenAPI, []byte(no)) {
			t.Errorf("the description has %q", no)
		}
	}
	for path, item := range description(t).Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || op.OperationID == "" || op.Security == nil || op.Responses.Default() != nil {
				t.Errorf("%s %s: needs a summary, an ID, its security, and each of its answers", method, path)
			}
			for status, res := range op.Responses.Map() {
				_, retry := res.Value.Headers["Retry-After"]
				if again := status == "429" || status == "503"; again != retry {
					t.Errorf("%s %s: %s says when to try again: %v", method, path, status, retry)
				}
				if status >= "400" && res.Value.Content.Get("application/problem+json") == nil {
					t.Errorf("%s %s: %s is no problem document", method, path, status)
				}
			}
		}
	}
}
