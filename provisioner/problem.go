package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/containerd/errdefs"
)

// Problem is what the API answers when something is wrong, by RFC 7807, as application/problem+json.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Instance is the path of the request, without its query, which may hold secrets.
	Instance string `json:"instance,omitempty"`
	// Errors has each of several things that are wrong, the parameter first.
	Errors []string `json:"errors,omitempty"`
}

// Error returns title and detail.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

const problemType = "https://wharfci.dev/problems/"

// problemOf finds the words and the status for an error. What it says of the runtime is the runtime's own; no error holds a credential.
func problemOf(err error) *Problem {
	is := func(name, title string, status int) *Problem {
		return &Problem{Type: problemType + name, Title: title, Status: status, Detail: err.Error()}
	}
	var parameter *ParameterError
	var tooLarge *http.MaxBytesError
	var ready *Problem
	switch {
	case errors.As(err, &ready):
		return ready
	case errors.As(err, &tooLarge):
		return is("too-large", "The request is too large", http.StatusRequestEntityTooLarge)
	case errors.As(err, &parameter):
		p := is("invalid-parameter", "A parameter cannot be used", http.StatusBadRequest)
		p.Errors = each(err)
		if len(p.Errors) > 1 {
			p.Title = "Some parameters cannot be used"
		}
		return p
	case errors.Is(err, ErrNoWorker):
		return is("no-such-worker", "There is no such worker", http.StatusNotFound)
	case errors.Is(err, ErrQueueFull):
		return is("queue-full", "The queue is full", http.StatusTooManyRequests)
	case errors.Is(err, ErrClosing):
		return is("shutting-down", "The provisioner is shutting down", http.StatusServiceUnavailable)
	case errors.Is(err, context.Canceled): // the client has gone; this is for the log
		return is("interrupted", "The request was given up", http.StatusServiceUnavailable)
	case errdefs.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded):
		return is("runtime-unavailable", "The container runtime does not answer", http.StatusServiceUnavailable)
	}
	return is("runtime", "The container runtime refuses", http.StatusInternalServerError)
}

// each returns the words of joined errors.
func each(err error) []string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	var all []string
	for _, e := range joined.Unwrap() {
		all = append(all, each(e)...)
	}
	return all
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	answer := *p
	answer.Instance = r.URL.Path
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="wharf"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}
