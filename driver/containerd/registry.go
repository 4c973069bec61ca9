//go:build linux

package containerd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// registryWords keeps what a registry said of a refusal. Containerd's client asks for headers only, whose answer has no words,
// and reports the status alone.
type registryWords struct {
	next http.RoundTripper
	mu   sync.Mutex
	last string
}

// maxWords is how much of a registry's answer is read, in bytes.
const maxWords = 8 << 10

// RoundTrip asks again, for the answer's body, what was refused. Where the client does so itself, or begins to log in, it is
// left alone.
func (w *registryWords) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodHead || res.StatusCode < 400 || res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		return res, err
	}
	again := req.Clone(req.Context())
	again.Method = http.MethodGet
	if full, err := w.next.RoundTrip(again); err == nil {
		defer full.Body.Close()
		if full.StatusCode == res.StatusCode {
			w.note(full.Body)
		}
	}
	return res, nil
}

// note reads an error document as the distribution specification describes it.
func (w *registryWords) note(body io.Reader) {
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if json.NewDecoder(io.LimitReader(body, maxWords)).Decode(&doc) != nil {
		return
	}
	var all []string
	for _, e := range doc.Errors {
		all = append(all, strings.TrimSpace(e.Code+" "+e.Message))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = strings.Join(all, ", ")
}

// add puts the words into an error.
func (w *registryWords) add(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == "" {
		return err
	}
	return fmt.Errorf("%w (the registry says: %.1000s)", err, w.last)
}
