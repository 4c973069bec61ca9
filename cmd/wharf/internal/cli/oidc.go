package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// oidcRules say whose tokens of an OpenID Connect provider are taken.
type oidcRules struct {
	issuer, audience string
	// subjects are patterns of "sub", one of which has to fit; none is any.
	subjects []string
	// claims are further ones, name=pattern: of each name one pattern has to fit.
	claims []string
}

// validate reports what is missing.
func (o *oidcRules) validate() error {
	if o.issuer == "" {
		if o.audience != "" || len(o.subjects)+len(o.claims) > 0 {
			return errors.New("--oidc-audience, --oidc-subject and --oidc-claim say which tokens of --oidc-issuer are taken, which is missing")
		}
		return nil
	}
	var errs []error
	if u, err := url.Parse(o.issuer); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Host) && !loopback(u.Host+":80")) {
		errs = append(errs, fmt.Errorf("--oidc-issuer %q: must be a URL such as https://login.example/realms/ci", o.issuer))
	}
	if o.audience == "" {
		errs = append(errs, errors.New("--oidc-audience is missing: name the audience that tokens for this provisioner have, such as wharf-provisioner"))
	}
	if len(o.subjects)+len(o.claims) == 0 {
		errs = append(errs, errors.New("--oidc-issuer: whoever has an account there could start builds; name who may with --oidc-subject or --oidc-claim, or let all in with --oidc-subject '*'"))
	}
	for _, c := range o.claims {
		if name, pattern, ok := strings.Cut(c, "="); !ok || name == "" || pattern == "" {
			errs = append(errs, fmt.Errorf("--oidc-claim %q: must be name=value, such as azp=wharf-api or realm_access.roles=ci", c))
		}
	}
	if slices.Contains(o.subjects, "") {
		errs = append(errs, errors.New("--oidc-subject: must not be empty"))
	}
	return errors.Join(errs...)
}

// admits reports why a token's owner may not use the API, or nil.
func (o *oidcRules) admits(subject string, claims map[string]any) error {
	if len(o.subjects) > 0 && !slices.ContainsFunc(o.subjects, func(pattern string) bool { return fits(pattern, subject) }) {
		return fmt.Errorf("the subject %q %w", subject, provisioner.ErrNotAllowed)
	}
	wanted := map[string][]string{}
	for _, c := range o.claims {
		name, pattern, _ := strings.Cut(c, "=")
		wanted[name] = append(wanted[name], pattern)
	}
	for name, patterns := range wanted {
		has := texts(find(claims, name))
		if !slices.ContainsFunc(patterns, func(pattern string) bool {
			return slices.ContainsFunc(has, func(value string) bool { return fits(pattern, value) })
		}) {
			return fmt.Errorf("the subject %q, by its claim %q, %w", subject, name, provisioner.ErrNotAllowed)
		}
	}
	return nil
}

// find returns a claim: one of that name, or, with dots in it, one inside of others.
func find(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		if inner, ok := claims[name[:i]].(map[string]any); ok {
			if v := find(inner, name[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// texts are the values of a claim: of a list each of its members.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool, json.Number:
		return []string{fmt.Sprint(v)}
	case []any:
		var all []string
		for _, member := range v {
			if _, list := member.([]any); !list {
				all = append(all, texts(member)...)
			}
		}
		return all
	}
	return nil
}

// fits reports whether a pattern, in which "*" stands for any text, fits the whole of a text.
func fits(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// issuer is an OpenID Connect provider, which is asked for its keys when the first token comes.
type issuer struct {
	rules  oidcRules
	mu     sync.Mutex
	checks *oidc.IDTokenVerifier
	err    error // of the last try, for some seconds
	tried  time.Time
}

// askAgain is how long a provider that does not answer is not asked again: whoever sends tokens shall not have everybody wait.
const askAgain = 5 * time.Second

func (i *issuer) verifier() (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.checks != nil || i.err != nil && time.Since(i.tried) < askAgain {
		return i.checks, i.err
	}
	// The provider's keys are fetched with this context, also later.
	ctx := oidc.ClientContext(context.Background(), &http.Client{Timeout: 10 * time.Second})
	provider, err := oidc.NewProvider(ctx, i.rules.issuer)
	i.tried, i.err = time.Now(), err
	if err != nil {
		i.err = driver.WithClass(errdefs.ErrUnavailable, "ask %s for its keys: %v", i.rules.issuer, err)
		return nil, i.err
	}
	i.checks = provider.Verifier(&oidc.Config{ClientID: i.rules.audience})
	return i.checks, nil
}

// verify returns whose a token is; it is the Verify of a [provisioner.Gate].
func (i *issuer) verify(ctx context.Context, bearer string) (string, error) {
	if strings.Count(bearer, ".") != 2 {
		return "", errors.New("is neither a token of this provisioner nor one of OpenID Connect")
	}
	checks, err := i.verifier()
	if err != nil {
		return "", err
	}
	token, err := checks.Verify(ctx, bearer)
	var away *url.Error
	if errors.As(err, &away) {
		return "", driver.WithClass(errdefs.ErrUnavailable, "%v", err)
	}
	if err != nil {
		return "", err
	}
	if token.Subject == "" {
		return "", errors.New("the token has no subject")
	}
	var text json.RawMessage
	if err := token.Claims(&text); err != nil {
		return "", err
	}
	claims := map[string]any{}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil {
		return "", err
	}
	return token.Subject, i.rules.admits(token.Subject, claims)
}
