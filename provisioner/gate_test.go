package provisioner_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/origin"
)

func TestGate(t *testing.T) {
	p := newYard().open(t, nil)
	shut := serve(t, p, provisioner.Gate{})
	shut.want(http.StatusUnauthorized, "GET", "/api/worker?token=", nil)
	shut.want(http.StatusUnauthorized, "GET", "/api/worker", nil, "Authorization", "Bearer x")

	slow := serve(t, p, provisioner.Gate{Open: true, Rate: 0.01})
	slow.want(http.StatusOK, "GET", "/api/worker", nil)
	slow.want(http.StatusTooManyRequests, "GET", "/api/worker", nil)
	slow.want(http.StatusOK, "GET", "/healthz", nil) // a neighbour that is busy does not have the service restarted
}

// verify is a gate's for bearers that say what becomes of them.
func verify(_ context.Context, bearer string) (string, error) {
	switch bearer {
	case "signed":
		return "somebody", nil
	case "of another":
		return "another", errors.Join(errors.New(`"another"`), provisioner.ErrNotAllowed)
	case "of nobody":
		return "", nil
	case "in the night":
		return "", driver.WithClass(errdefs.ErrUnavailable, "the issuer sleeps")
	}
	return "", errors.New("the signature is wrong")
}

// record is a log that is read while it is written.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// line is the last line of the audit log of something that was done, in JSON.
func (r *record) line(what string) (last string) {
	for line := range strings.Lines(r.String()) {
		if strings.Contains(line, `"@message":"`+what+`"`) && strings.Contains(line, `"@module":"provisioner.audit"`) {
			last = line
		}
	}
	return last
}

func TestGateBearers(t *testing.T) {
	var log record
	p := newYard().open(t, func(cfg *provisioner.Config) {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "provisioner", Output: &log, JSONFormat: true})
	})
	d := serve(t, p, provisioner.Gate{Verify: verify, Tokens: map[string]string{"wharf-api": engine}})
	for bearer, status := range map[string]int{"signed": 200, engine: 200, "other": 401, "of nobody": 401, "of another": 403, "in the night": 503} {
		d.want(status, "GET", "/api/worker", nil, "Authorization", "Bearer "+bearer)
	}
	d.want(http.StatusUnauthorized, "GET", "/api/worker?token=signed", nil) // where a proxy's log would have it
	d.want(http.StatusUnauthorized, "GET", "/api/worker", nil, "token", "signed")
	d.want(http.StatusCreated, "POST", "/api/worker?"+query(asked()), nil, "Authorization", "bearer signed")
	d.want(http.StatusForbidden, "POST", "/api/worker?"+query(asked()), nil, "Authorization", "Bearer of another")
	for _, want := range []string{`"@message":"trigger","@module":"provisioner.audit","@timestamp"`, `"who":"somebody"`, `"who":"another"`, `trigger was refused`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the audit log has no %s:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), engine) || strings.Contains(log.String(), "t0ken") {
		t.Errorf("the log tells a token:\n%s", log.String())
	}
}

// TestAudit: the audit log says who has deleted and pruned what, from where, and who wanted to.
func TestAudit(t *testing.T) {
	var log record
	p := newYard().open(t, func(cfg *provisioner.Config) {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "provisioner", Output: &log, JSONFormat: true})
	})
	d := serve(t, p, provisioner.Gate{Verify: verify, Tokens: map[string]string{"wharf-api": engine, "old": "before"}})
	var ids []string
	for n := range uint64(2) {
		ids = append(ids, until(t, p, ask(t, p, trigger(n)).ID, provisioner.Succeeded).ID)
	}
	audited := func(what string, parts ...string) {
		t.Helper()
		line := log.line(what)
		for _, part := range append(parts, `"address":"127.0.0.1"`) {
			if !strings.Contains(line, part) {
				t.Errorf("of %s the audit log does not say %s: %s", what, part, line)
			}
		}
	}
	d.want(http.StatusNoContent, "DELETE", "/api/worker/"+ids[0], nil, "Token", "before")
	audited("delete", `"@level":"info"`, `"who":"old"`, `"worker":"`+ids[0]+`"`)
	d.want(http.StatusNotFound, "DELETE", "/api/worker/"+ids[0], nil, "Authorization", "Bearer signed")
	audited("delete was refused", `"@level":"warn"`, `"who":"somebody"`, `"worker":"`+ids[0]+`"`, "there is no such worker")
	d.want(http.StatusOK, "POST", "/api/prune", nil, "Authorization", "Bearer "+engine)
	audited("prune", `"@level":"info"`, `"who":"wharf-api"`, `"removed":["`+ids[1]+`"]`)
	d.want(http.StatusForbidden, "POST", "/api/prune", nil, "Authorization", "Bearer of another")
	audited("POST was refused", `"@level":"warn"`, `"who":"another"`)
	for _, secret := range []string{engine, "before"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells the token %s:\n%s", secret, log.String())
		}
	}
}

// TestGateSeveralTokens: a token that is good is enough, whatever stands in the other places; and who shows none that is good is refused before his body is looked at.
func TestGateSeveralTokens(t *testing.T) {
	d := serve(t, newYard().open(t, nil), provisioner.Gate{Verify: verify, Tokens: map[string]string{"wharf-api": engine, "old": "before"}})
	good, wrong := "/api/worker?token="+engine, "/api/worker?token=wrong"
	for _, bearer := range []string{"other", "of another", "in the night"} { // the issuer is not asked
		d.want(http.StatusOK, "GET", good, nil, "Authorization", "Bearer "+bearer)
		d.want(http.StatusOK, "GET", "/api/worker", nil, "Authorization", "Bearer "+bearer, "Token", "before")
	}
	d.want(http.StatusOK, "GET", good, nil, "Token", "wrong")
	d.want(http.StatusOK, "GET", good, nil, "Authorization", "Bearer ")
	d.want(http.StatusOK, "GET", wrong, nil, "Authorization", "Bearer signed", "Token", "wrong")
	d.want(http.StatusUnauthorized, "GET", wrong, nil, "Authorization", "Bearer other", "Token", "wrong")
	d.want(http.StatusUnauthorized, "GET", wrong+"&token="+engine, nil) // one of each place
	d.want(http.StatusUnauthorized, "GET", "/api/worker?token=signed", nil, "Token", "signed")
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	body := func(token string) *strings.Reader { return strings.NewReader("BUILD_REF=x&token=" + token) }
	d.want(http.StatusUnauthorized, "POST", "/api/worker", body(engine), append(form, "Authorization", "Bearer other")...)
	d.want(http.StatusUnauthorized, "POST", "/api/worker", body("signed"), append(form, "Authorization", "Bearer ")...) // what is no bearer is not taken for one
	d.want(http.StatusBadRequest, "POST", "/api/worker", body(engine), append(form, "Authorization", "Basic eDp5")...)
}

// TestGateBodyLast: who shows a wrong token is refused before his body is looked at.
func TestGateBodyLast(t *testing.T) {
	d := serve(t, newYard().open(t, nil), provisioner.Gate{Tokens: map[string]string{"wharf-api": engine}})
	large := strings.Repeat("x", 2<<20)
	d.want(http.StatusUnauthorized, "POST", "/api/worker?token=wrong", strings.NewReader("{"), "Content-Type", "application/json")
	d.want(http.StatusUnauthorized, "POST", "/api/worker", strings.NewReader(`{"token": "wrong", "BUILD_REF": {}}`), "Content-Type", "application/json")
	d.want(http.StatusUnauthorized, "POST", "/api/worker", strings.NewReader("BUILD_REF=x"), "Content-Type", "application/x-www-form-urlencoded")
	d.want(http.StatusUnauthorized, "POST", "/api/worker", strings.NewReader(large), "Content-Type", "application/json")
	d.want(http.StatusBadRequest, "POST", "/api/worker?token="+engine, strings.NewReader(`{"token": "wrong"}`), "Content-Type", "application/json") // which one is meant?
	d.want(http.StatusBadRequest, "POST", "/api/worker", strings.NewReader("token="+engine+"&BUILD_REF=x"), "Content-Type", "application/x-www-form-urlencoded")
}

// TestGateProxy: behind a proxy each client has a rate of its own, and nobody gets another by a header of his own.
func TestGateProxy(t *testing.T) {
	p := newYard().open(t, nil)
	proxies, err := origin.ParseProxies([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	behind := serve(t, p, provisioner.Gate{Open: true, Rate: 0.01, Proxies: proxies})
	behind.want(http.StatusOK, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.1")
	behind.want(http.StatusTooManyRequests, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.1")
	behind.want(http.StatusTooManyRequests, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.9, 192.0.2.1")
	behind.want(http.StatusOK, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.2")
	behind.want(http.StatusOK, "GET", "/api/worker", nil, "X-Forwarded-For", "2001:db8::1")
	behind.want(http.StatusTooManyRequests, "GET", "/api/worker", nil, "X-Forwarded-For", "2001:db8::2")

	direct := serve(t, p, provisioner.Gate{Open: true, Rate: 0.01})
	direct.want(http.StatusOK, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.1")
	direct.want(http.StatusTooManyRequests, "GET", "/api/worker", nil, "X-Forwarded-For", "192.0.2.2")
}

// deadlined is a writer that notes which deadlines it has when it is written to.
type deadlined struct {
	*httptest.ResponseRecorder
	write, written time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

func (d *deadlined) Write(b []byte) (int, error) {
	d.written = d.write
	return d.ResponseRecorder.Write(b)
}

// TestGateAnswerTime: every answer has a time by which it has to be taken.
func TestGateAnswerTime(t *testing.T) {
	p := newYard().open(t, nil)
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := p.Handler(provisioner.Gate{Open: true})
	for _, r := range []struct{ method, path string }{{"GET", "/api/worker"}, {"GET", "/api/worker/x"}, {"GET", "/metrics"}, {"GET", "/healthz"}, {"GET", "/nothing"}, {"PUT", "/api/worker"}, {"POST", "/api/worker"}, {"POST", "/api/prune"}} {
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequestWithContext(t.Context(), r.method, r.path, nil)
		if r.path == "/api/prune" {
			req.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		h.ServeHTTP(w, req)
		if w.written.IsZero() {
			t.Errorf("%s %s: %d, and no time by which it has to be taken", r.method, r.path, w.Code)
		}
	}
}
