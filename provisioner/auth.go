package provisioner

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/time/rate"

	"github.com/wharfci/wharf/provisioner/origin"
)

// Access to the API.

// Gate says who may use the API. The zero value lets nobody in.
type Gate struct {
	// Tokens are what clients show, by a name for the audit log; several, so that one can take the place of another. They come as the parameter "token", as
	// the header "token", or as a bearer; of several outside of the body one that is known is enough.
	Tokens map[string]string
	// Verify, if not nil, checks a bearer that is none of Tokens, such as one of OpenID Connect, and returns whose it is. An error that matches ErrNotAllowed is of a bearer that is
	// good and whose subject may not use the API (403); one of the class Unavailable says that nobody can check it now (503); with any other the bearer is wrong (401).
	Verify func(ctx context.Context, bearer string) (subject string, err error)
	// Open lets everybody in: for a service that only this machine can reach.
	Open bool
	// Rate is how many requests a second one address may make, with bursts of ten times as many; 0 is 50. Negative is no limit.
	Rate float64
	// Streams is how many streams of changes one address may have open; 0 is 20. Negative is no limit.
	Streams int
	// Heartbeat is how often such a stream says that it is still there, and how long a client may take nothing of it; 0 is 15 seconds.
	Heartbeat time.Duration
	// Proxies are believed when they say for which address they ask, in X-Forwarded-For.
	Proxies origin.Proxies
}

// ErrNotAllowed is of somebody who is known, and who may not use the API.
var ErrNotAllowed = errors.New("is not among those who may use this provisioner")

// digests are of the tokens: comparing them takes the same time whatever the token.
type digests map[string][sha256.Size]byte

func (g *Gate) digests() digests {
	d := digests{}
	for name, token := range g.Tokens {
		if token != "" {
			d[name] = sha256.Sum256([]byte(token))
		}
	}
	return d
}

// named returns whose a token is, or nothing. It looks at all of them.
func (d digests) named(token string) string {
	sum := sha256.Sum256([]byte(token))
	found := ""
	for name, want := range d {
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
			found = name
		}
	}
	return found
}

// shown returns the tokens that a request shows outside of its body, at most one of each place, and the one of them that is a bearer. Several may be there: a proxy may put a bearer
// of its own before what its client shows.
func shown(r *http.Request) (tokens []string, bearer string) {
	if kind, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "bearer") {
		bearer = strings.TrimSpace(value)
	}
	for _, token := range []string{bearer, r.Header.Get("Token"), r.URL.Query().Get(tokenParameter)} {
		if token != "" {
			tokens = append(tokens, token)
		}
	}
	return tokens, bearer
}

var (
	errNoToken = &Problem{Type: problemType + "unauthenticated", Title: "A token is needed", Status: http.StatusUnauthorized,
		Detail: "the request shows no token: give the engine's token as the parameter \"token\" or in the header \"Authorization: Bearer\""}
	errWrongToken = &Problem{Type: problemType + "unauthenticated", Title: "The token is wrong", Status: http.StatusUnauthorized,
		Detail: "the token is none of those that this provisioner knows: compare the engine's token in wharf-api with that of the provisioner"}
	errNotChecked = &Problem{Type: problemType + "issuer-unavailable", Title: "The token cannot be checked", Status: http.StatusServiceUnavailable,
		Detail: "the issuer of the token does not answer: try again"}
	errTooManyStreams = &Problem{Type: problemType + "too-many-streams", Title: "Too many streams", Status: http.StatusTooManyRequests,
		Detail: "this address has as many streams of changes open as it may: end one first"}
	errTooFast = &Problem{Type: problemType + "too-many-requests", Title: "Too many requests", Status: http.StatusTooManyRequests,
		Detail: "this address makes more requests than it may: wait a moment"}
)

// authenticate returns who makes a request; with an error too, if that is known. Of several tokens one that is known is enough.
func (a *api) authenticate(r *http.Request, inBody string) (string, error) {
	if a.gate.Open {
		return "anybody", nil
	}
	tokens, bearer := shown(r)
	if len(tokens) == 0 && inBody != "" {
		tokens = []string{inBody}
	}
	if len(tokens) == 0 {
		return "", errNoToken
	}
	who := ""
	for _, token := range tokens {
		who = cmp.Or(who, a.digests.named(token)) // looks at each, also when it is known
	}
	if who != "" {
		return who, nil
	}
	if bearer == "" || a.gate.Verify == nil {
		return "", errWrongToken
	}
	subject, err := a.gate.Verify(r.Context(), bearer)
	if err == nil && subject != "" {
		return subject, nil
	}
	a.log.Warn("a bearer was refused", "address", a.client(r), "who", subject, "error", err)
	switch {
	case errors.Is(err, ErrNotAllowed):
		return subject, &Problem{Type: problemType + "forbidden", Title: "This token may not be used here", Status: http.StatusForbidden, Detail: err.Error()}
	case errdefs.IsUnavailable(err):
		return "", errNotChecked
	}
	return "", errWrongToken
}

// client is the address that a request comes from.
func (a *api) client(r *http.Request) string { return a.gate.Proxies.Client(r) }

// tally counts the streams of each client.
type tally struct {
	mu   sync.Mutex
	most int
	of   map[string]int
}

// enter reports whether a client may have one more; then it has to leave.
func (t *tally) enter(client string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.most >= 0 && t.of[client] >= t.most {
		return false
	}
	t.of[client]++
	return true
}

func (t *tally) leave(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[client]--; t.of[client] == 0 {
		delete(t.of, client)
	}
}

// meter counts the requests of each address.
type meter struct {
	mu      sync.Mutex
	rate    rate.Limit
	clients map[string]*visitor
	swept   time.Time
}

type visitor struct {
	limiter *rate.Limiter
	last    time.Time
}

func newMeter(perSecond float64) *meter {
	if perSecond == 0 {
		perSecond = 50
	}
	return &meter{rate: rate.Limit(perSecond), clients: map[string]*visitor{}}
}

// forgetAfter is when an address that has not come again is forgotten; its burst is full again by then.
const forgetAfter = time.Minute

func (m *meter) allows(address string, now time.Time) bool {
	if m.rate < 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.swept) > forgetAfter {
		for a, v := range m.clients {
			if now.Sub(v.last) > forgetAfter {
				delete(m.clients, a)
			}
		}
		m.swept = now
	}
	v := m.clients[address]
	if v == nil {
		v = &visitor{limiter: rate.NewLimiter(m.rate, max(1, int(10*m.rate)))}
		m.clients[address] = v
	}
	v.last = now
	return v.limiter.AllowN(now, 1)
}
