package provisioner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a request.
const (
	maxBody       = 1 << 20
	maxParameters = 200
	maxValue      = 64 << 10
	maxText       = 255 // of names, branches and the like
)

// tokenParameter authenticates the call; it is no parameter of the build.
const tokenParameter = "token"

// flat are the parameters that cannot be an object or a list in JSON.
var flat = []string{
	tokenParameter, "BUILD_REF", "WHARF_INSTANCE", "WHARF_PROJECT_ID", "REPO_GROUP", "REPO_NAME", "REPO_BRANCH", "REPO_DIRECTORY", "GIT_FULLURL", "GIT_BRANCH", "GIT_COMMIT", "GIT_TOKEN",
	"GIT_SUBMODULES", "GIT_LFS", "GIT_SPARSE", "RUN_STAGES", "ENVIRONMENT", "PRIORITY",
}

// gathered are the parameters of a request. One that is given twice must have the same value each time.
type gathered map[string]string

func (g gathered) add(name, value string) error {
	if before, twice := g[name]; twice && before != value {
		return &ParameterError{told(name), "is given twice, with different values"}
	}
	g[name] = value
	return nil
}

func (g gathered) addAll(values url.Values) error {
	for name, list := range values {
		for _, value := range list {
			if err := g.add(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// parameters gathers those of a request: of its query, and of its body, which may be a form or a JSON object. What there is comes with an error too.
func parameters(r *http.Request) (map[string]string, error) {
	g := gathered{}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return g, &ParameterError{"query", "is no valid query: \"%\" must be followed by two hexadecimal digits, and \";\" is written as %3B"} // the words of the parser may quote a secret
	}
	if err := g.addAll(query); err != nil {
		return g, err
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return g, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return g, &Problem{Type: problemType + "too-slow", Title: "The request came too slowly", Status: http.StatusRequestTimeout, Detail: "the body was not there in time"}
	case err != nil:
		return g, &ParameterError{"body", "is cut off, or not written as its headers say"}
	case len(body) == 0:
		return g, nil
	}
	kind, err := bodyKind(r.Header)
	if err != nil {
		return g, err
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // some clients write it in front of UTF-8
	if kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return g, &ParameterError{"body", "is no valid form"}
		}
		return g, g.addAll(form)
	}
	return g, g.addJSON(body)
}

// bodyKind returns the type of a body that can be read.
func bodyKind(h http.Header) (string, error) {
	bad := func(format string, args ...any) error {
		return &Problem{Type: problemType + "unsupported-body", Title: "The body cannot be read", Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf(format, args...)}
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", bad("it has the content encoding %q: send it as it is, without compression", shortened(encoding))
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return "", bad("it has the content type %q: must be application/json or application/x-www-form-urlencoded; or put the parameters into the query", shortened(h.Get("Content-Type")))
	}
	if charset := strings.ToLower(params["charset"]); !slices.Contains([]string{"", "utf-8", "utf8", "us-ascii"}, charset) {
		return "", bad("it has the character set %q: must be UTF-8", shortened(charset))
	}
	return kind, nil
}

// addJSON takes the members of an object. Values that are no text are taken as JSON writes them, and null is as if it was not there.
func (g gathered) addJSON(body []byte) error {
	no := &ParameterError{"body", "is no JSON object"}
	if !utf8.Valid(body) {
		return &ParameterError{"body", "is no text in UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return no
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return no
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return no
		}
		if err := g.addMember(name.(string), bytes.TrimSpace(raw)); err != nil { // a member's name is a string, or there is an error
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return no
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &ParameterError{"body", "has something behind its JSON object"}
	}
	return nil
}

func (g gathered) addMember(name string, raw json.RawMessage) error {
	text := string(raw)
	switch raw[0] {
	case 'n':
		return nil
	case '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return &ParameterError{told(name), "is no JSON text"}
		}
	case '{', '[':
		if slices.Contains(flat, name) {
			return &ParameterError{name, "must be text, a number, or true or false: no object or list"}
		}
	}
	return g.add(name, text)
}
