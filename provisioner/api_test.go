package provisioner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

const engine = "engine-token"

// described is a client that checks every request that is accepted, and every answer, against the description of the API.
type described struct {
	t       *testing.T
	url     string
	router  routers.Router
	answers map[string]bool // "operation status"
}

func serve(t *testing.T, p *provisioner.Provisioner, gate provisioner.Gate, change ...func(*http.Server)) *described {
	t.Helper()
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(p.Handler(gate))
	for _, c := range change {
		c(s.Config)
	}
	s.Start()
	t.Cleanup(s.Close)
	doc := description(t)
	doc.Servers = openapi3.Servers{{URL: s.URL}}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &described{t, s.URL, router, map[string]bool{}}
}

func description(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(provisioner.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// do makes a request, and returns status, headers and body.
func (d *described) do(method, path string, body io.Reader, header ...string) (int, http.Header, string) {
	d.t.Helper()
	var sent []byte
	if body != nil {
		var err error
		if sent, err = io.ReadAll(body); err != nil {
			d.t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, bytes.NewReader(sent))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Host = r.Header.Get("Host") // the URL's own if it is empty
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	d.check(r, res, string(text))
	return res.StatusCode, res.Header, string(text)
}

// check compares a request and its answer with the description.
func (d *described) check(r *http.Request, res *http.Response, text string) {
	d.t.Helper()
	route, params, err := d.router.FindRoute(r)
	if err != nil && (res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed) {
		return
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.answers[route.Operation.OperationID+" "+strconv.Itoa(res.StatusCode)] = true
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if res.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(d.t.Context(), in); err != nil {
			d.t.Errorf("%s %s: the request is not as described: %v", r.Method, r.URL.Path, err)
		}
	}
	if err := openapi3filter.ValidateResponse(d.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Body: io.NopCloser(strings.NewReader(text)), Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}); err != nil {
		d.t.Errorf("%s %s: the answer is not as described: %v", r.Method, r.URL.Path, err)
	}
}

func query(p map[string]string) string {
	v := url.Values{}
	for name, value := range p {
		v.Set(name, value)
	}
	return v.Encode()
}

func (d *described) want(status int, method, path string, body io.Reader, header ...string) string {
	d.t.Helper()
	got, head, text := d.do(method, path, body, header...)
	if got != status {
		d.t.Errorf("%s %.60s: %d, want %d: %s", method, path, got, status, text)
	}
	if got >= 400 {
		var p provisioner.Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || head.Get("Content-Type") != "application/problem+json" || p.Status != got || p.Detail == "" {
			d.t.Errorf("%s %.60s: no problem document: %s", method, path, text)
		}
		if kind := strings.TrimPrefix(p.Type, "https://wharfci.dev/problems/"); !strings.Contains(string(provisioner.OpenAPI), "`"+kind+"`") {
			d.t.Errorf("%s %.60s: the description has no problem of the type %s", method, path, p.Type)
		}
	}
	return text
}

func TestAPI(t *testing.T) {
	y := newYard()
	y.build = untilTold
	p := y.open(t, nil)
	d := serve(t, p, provisioner.Gate{Tokens: map[string]string{"wharf-api": engine, "old": "before"}})

	params := asked()
	params["token"] = engine
	text := d.want(http.StatusCreated, "POST", "/api/worker?"+query(params), nil)
	var w provisioner.Worker
	if err := json.Unmarshal([]byte(text), &w); err != nil || w.ID == "" || w.State != provisioner.Queued && w.State != provisioner.Preparing {
		t.Fatalf("the answer is %s, %v", text, err)
	}
	if strings.Contains(text, "t0ken") {
		t.Errorf("the answer tells the credential: %s", text)
	}
	if again := d.want(http.StatusOK, "POST", "/api/worker?"+query(params), nil); !strings.Contains(again, w.ID) {
		t.Errorf("the same trigger again: %s", again)
	}
	until(t, p, w.ID, provisioner.Running)
	bearer := []string{"Authorization", "Bearer before"}
	if list := d.want(http.StatusOK, "GET", "/api/worker", nil, bearer...); !strings.Contains(list, `"totalCount":1`) || !strings.Contains(list, `"state":"running"`) {
		t.Errorf("the list is %s", list)
	}
	if list := d.want(http.StatusOK, "GET", "/api/worker?state=queued", nil, bearer...); !strings.Contains(list, `"list":[]`) {
		t.Errorf("the list of those that are queued is %s", list)
	}
	d.want(http.StatusBadRequest, "GET", "/api/worker?state=tired", nil, bearer...)
	d.want(http.StatusOK, "GET", "/api/worker/"+w.ID, nil, "token", engine)
	d.want(http.StatusNotFound, "GET", "/api/worker/nobody", nil, bearer...)
	d.want(http.StatusNoContent, "DELETE", "/api/worker/"+w.ID, nil, bearer...)
	d.want(http.StatusNotFound, "DELETE", "/api/worker/"+w.ID, nil, bearer...)
	d.want(http.StatusOK, "POST", "/api/prune?olderThan=1h", nil, bearer...)
	d.want(http.StatusBadRequest, "POST", "/api/prune?olderThan=soon", nil, bearer...)

	for _, r := range []struct{ method, path string }{{"GET", "/api/worker"}, {"GET", "/api/worker/x"}, {"DELETE", "/api/worker/x"}, {"POST", "/api/prune"}, {"POST", "/api/worker?BUILD_REF=x"}} {
		d.want(http.StatusUnauthorized, r.method, r.path, nil)
		d.want(http.StatusUnauthorized, r.method, r.path, nil, "Authorization", "Bearer wrong")
	}
	d.want(http.StatusNotFound, "GET", "/", nil)
	d.want(http.StatusMethodNotAllowed, "PUT", "/api/worker", nil)
	d.want(http.StatusOK, "GET", "/healthz", nil)
	d.want(http.StatusOK, "GET", "/readyz", nil) // a worker has run
	d.want(http.StatusOK, "GET", "/api/openapi.yaml", nil)
	if text := d.want(http.StatusOK, "GET", "/metrics", nil); !strings.Contains(text, `wharf_provisioner_triggers_total{result="made"} 1`) || !strings.Contains(text, "wharf_provisioner_running_seconds_count 1") {
		t.Errorf("the metrics are\n%s", text)
	}
	y.eventually(t)
}

// TestTriggerForms triggers in each of the ways that clients of Jenkins do.
func TestTriggerForms(t *testing.T) {
	p := newYard().open(t, nil)
	d := serve(t, p, provisioner.Gate{Tokens: map[string]string{"wharf-api": engine}})
	next := 100
	params := func() map[string]string {
		m := asked()
		next++
		m["BUILD_REF"], m["token"] = strconv.Itoa(next), engine
		return m
	}
	d.want(http.StatusCreated, "POST", "/api/worker", strings.NewReader(query(params())), "Content-Type", "application/x-www-form-urlencoded")
	d.want(http.StatusCreated, "POST", "/generic-webhook-trigger/invoke?"+query(params()), nil)
	body, _ := json.Marshal(params())
	d.want(http.StatusCreated, "POST", "/api/worker", strings.NewReader(string(body)), "Content-Type", "application/json; charset=utf-8")
	numbers := strings.Replace(string(body), `"BUILD_REF":"103"`, `"BUILD_REF":104`, 1)
	if text := d.want(http.StatusCreated, "POST", "/api/worker", strings.NewReader(numbers), "Content-Type", "application/json"); !strings.Contains(text, `"buildRef":104`) {
		t.Errorf("a number in JSON: %s", text)
	}
	d.want(http.StatusBadRequest, "POST", "/api/worker?token="+engine, strings.NewReader("[1]"), "Content-Type", "application/json")
	d.want(http.StatusUnsupportedMediaType, "POST", "/api/worker?token="+engine, strings.NewReader("x"), "Content-Type", "text/plain")
	d.want(http.StatusBadRequest, "POST", "/api/worker?token="+engine+"&BUILD_REF=1&BUILD_REF=2", nil)
	d.want(http.StatusRequestEntityTooLarge, "POST", "/api/worker?token="+engine, strings.NewReader(strings.Repeat("x", 2<<20)), "Content-Type", "application/json")
	text := d.want(http.StatusBadRequest, "POST", "/api/worker?token="+engine+"&BUILD_REF=x&PRIORITY=y", nil)
	if !strings.Contains(text, `"BUILD_REF: `) || !strings.Contains(text, `"PRIORITY: `) {
		t.Errorf("the problem does not name the parameters: %s", text)
	}
}

// TestPruneSome: if some workers were removed and others not, both are told, and that it was done stands in the audit log.
func TestPruneSome(t *testing.T) {
	var log record
	p, runtime := newYard().opened(t, func(cfg *provisioner.Config) {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "provisioner", Output: &log, JSONFormat: true})
	})
	d := serve(t, p, provisioner.Gate{Tokens: map[string]string{"wharf-api": engine}})
	ids := map[string]bool{}
	for n := range uint64(3) {
		ids[until(t, p, ask(t, p, trigger(n)).ID, provisioner.Succeeded).ID] = true
	}
	runtime.Inject(fake.Fault{Op: "remove", Times: 1, Err: driver.WithClass(errdefs.ErrPermissionDenied, "this one stays")})
	var done provisioner.Pruned
	text := d.want(http.StatusOK, "POST", "/api/prune", nil, "token", engine)
	if err := json.Unmarshal([]byte(text), &done); err != nil || len(done.Removed) != 2 || len(done.Failed) != 1 || !strings.Contains(done.Failed[0], "this one stays") {
		t.Fatalf("pruned: %s, %v", text, err)
	}
	for _, id := range done.Removed {
		delete(ids, id)
	}
	for id := range ids {
		if !strings.Contains(done.Failed[0], id) {
			t.Errorf("what failed does not name %s: %s", id, text)
		}
	}
	audited := log.line("prune")
	if !strings.Contains(audited, `"@level":"info"`) || !strings.Contains(audited, "this one stays") || !strings.Contains(audited, done.Removed[0]) || strings.Contains(log.String(), "prune was refused") {
		t.Errorf("the audit log says %s", audited)
	}
	if text := d.want(http.StatusOK, "POST", "/api/prune", nil, "token", engine); strings.Contains(text, "failed") {
		t.Errorf("pruned again: %s", text)
	}
}

// TestAPIAway: a runtime that is away is 503 with Retry-After, and not ready.
func TestAPIAway(t *testing.T) {
	y := newYard()
	p := y.open(t, nil)
	d := serve(t, p, provisioner.Gate{Open: true})
	until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
	y.Down()
	d.want(http.StatusServiceUnavailable, "GET", "/readyz", nil)
	if status, head, text := d.do("POST", "/api/worker?"+query(asked()), nil); status != http.StatusServiceUnavailable || head.Get("Retry-After") == "" {
		t.Errorf("a trigger while the runtime is away: %d, %v, %s", status, head, text)
	}
	d.want(http.StatusOK, "GET", "/api/worker", nil)
	y.Up()
	d.want(http.StatusCreated, "POST", "/api/worker?"+query(asked()), nil)
}

func ExampleProvisioner() {
	rt := fake.New(fake.Config{})
	d := rt.Open("workers")
	defer d.Close()
	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "registry.example/wharf/worker:1", WorkerKey: []byte("at least sixteen bytes")})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go p.Run(ctx)
	s := httptest.NewServer(p.Handler(provisioner.Gate{Tokens: map[string]string{"wharf-api": "secret"}}))
	defer s.Close()
	res, err := http.Post(s.URL+"/api/worker?BUILD_REF=1&GIT_BRANCH=main&GIT_FULLURL=https://git.example.com/a/b.git&token=secret", "", nil)
	if err != nil {
		panic(err)
	}
	res.Body.Close()
	println(res.Status)
}
