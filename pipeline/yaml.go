package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// What a definition may be at most.
const (
	MaxSize  = 1 << 20 // bytes
	MaxDepth = 100     // lists and maps inside each other
	MaxNodes = 200_000 // keys and values, where each use of an alias counts in full, and long text counts more
)

// load reads one YAML document into a tree. It returns nil for an empty document, and also if r got problems which leave
// no tree.
func load(s *source, r *report) *node {
	doc := loadYAML(s, r)
	if doc == nil || len(doc.Content) == 0 {
		return nil
	}
	c := converter{source: s, report: r}
	n := c.convert(doc.Content[0], 0)
	if c.failed {
		return nil
	}
	return n
}

// prepare makes the source of a file: it removes a byte order mark and refuses what is no text.
func prepare(file string, src []byte, r *report) *source {
	name := &source{file: file}
	if len(src) > MaxSize {
		r.at(name, pos{}, fmt.Sprintf("the file has more than %d MiB, which is more than anybody writes", MaxSize>>20))
		return nil
	}
	s := newSource(file, strings.TrimPrefix(string(src), "\ufeff"))
	for i, c := range s.text {
		if c == utf8.RuneError && !strings.HasPrefix(s.text[i:], "\ufffd") {
			e := r.at(s, s.pos(i), fmt.Sprintf("the byte 0x%02x is not UTF-8 text", s.text[i]))
			e.Hint = "save the file with the encoding UTF-8"
			return nil
		}
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			r.at(s, s.pos(i), fmt.Sprintf("the control character U+%04X is not allowed", c))
			return nil
		}
	}
	return s
}

// loadYAML returns the document node of the first document, and refuses a second.
func loadYAML(s *source, r *report) (doc *yaml.Node) {
	defer func() {
		if p := recover(); p != nil {
			r.at(s, pos{}, fmt.Sprintf("the YAML library failed: %v", p))
			doc = nil
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader([]byte(s.text)), yaml.WithUniqueKeys(false),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(MaxDepth), loaderlimits.AliasNone())))
	if err != nil {
		r.at(s, pos{}, err.Error())
		return nil
	}
	var first yaml.Node
	if err := loader.Load(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			syntaxError(s, r, err)
		}
		return nil
	}
	for {
		var next yaml.Node
		switch err := loader.Load(&next); {
		case errors.Is(err, io.EOF):
			return &first
		case err != nil:
			syntaxError(s, r, err)
			return nil
		case len(next.Content) > 0 && next.Content[0].ShortTag() != "!!null":
			r.at(s, pos{next.Line, next.Column}, "a second document starts here; a file holds one")
			return nil
		}
	}
}
