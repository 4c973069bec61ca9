package provisioner

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Access to the API.

// Gate says who may use the API. The zero value lets nobody in.
type Gate struct {
	// Tokens are what clients show, by a name for the audit log; several, so that one can take the place of another. They come as the parameter "token", as
	// the header "token", or as a bearer.
	Tokens map[string]string
	// Verify, if not nil, checks a bearer that is none of Tokens, such as one of OpenID Connect, and returns whose it is.
	Verify func(ctx context.Context, bearer string) (subject string, err error)
	// Open lets everybody in: for a service that only this machine can reach.
	Open bool
	// Rate is how many requests a second one address may make, with bursts of ten times as many; 0 is 50. Negative is no limit.
	Rate float64
}

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

// shown returns the token that a request shows outside of its body, and whether it is a bearer.
func shown(r *http.Request) (token string, bearer bool) {
	if kind, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "bearer") {
		return strings.TrimSpace(value), true
	}
	if token := r.Header.Get("Token"); token != "" {
		return token, false
	}
	return r.URL.Query().Get(tokenParameter), false
}

var (
	errNoToken = &Problem{Type: problemType + "unauthenticated", Title: "A token is needed", Status: http.StatusUnauthorized,
		Detail: "the request shows no token: give the engine's token as the parameter \"token\" or in the header \"Authorization: Bearer\""}
	errWrongToken = &Problem{Type: problemType + "unauthenticated", Title: "The token is wrong", Status: http.StatusUnauthorized,
		Detail: "the token is none of those that this provisioner knows: compare the engine's token in wharf-api with that of the provisioner"}
	errTooFast = &Problem{Type: problemType + "too-many-requests", Title: "Too many requests", Status: http.StatusTooManyRequests,
		Detail: "this address makes more requests than it may: wait a moment"}
)

// authenticate returns who makes a request.
func (a *api) authenticate(r *http.Request, inBody string) (string, error) {
	if a.gate.Open {
		return "anybody", nil
	}
	token, bearer := shown(r)
	if token == "" {
		token = inBody
	}
	if token == "" {
		return "", errNoToken
	}
	if name := a.digests.named(token); name != "" {
		return name, nil
	}
	if bearer && a.gate.Verify != nil {
		subject, err := a.gate.Verify(r.Context(), token)
		if err == nil {
			return subject, nil
		}
		a.log.Warn("a bearer was refused", "address", client(r), "error", err)
	}
	return "", errWrongToken
}

// client is the address that a request comes from.
func client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
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
