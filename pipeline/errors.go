package pipeline

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// An Error is one problem in a file.
type Error struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1; Column counts characters, not bytes. Both are 0 if the problem has no place in a file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Msg says what is wrong, Hint how it could be mended (or is empty).
	Msg  string `json:"message"`
	Hint string `json:"hint,omitempty"`
	// Source is the line's text as far as it is needed to show the place, or empty; SourceColumn is the column's place in
	// it, from 1. They differ from the file where a line is very long or has control characters.
	Source       string `json:"source,omitempty"`
	SourceColumn int    `json:"sourceColumn,omitempty"`
}

// Error formats the problem as "file:line:column: message", the line's text, a caret under the place, and the hint, each
// on a line of its own and without a newline at the end.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(clean(e.File) + ":")
		if e.Line > 0 {
			b.WriteString(strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column) + ":")
		}
		b.WriteByte(' ')
	}
	b.WriteString(e.Msg)
	if e.Source != "" {
		b.WriteString("\n  " + e.Source + "\n  " + caret(e.Source, e.SourceColumn))
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: " + e.Hint)
	}
	return b.String()
}

// Errors are the problems of a file, sorted by file, line and column.
type Errors []*Error

// Error joins the texts of all problems by newlines.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap makes errors.As find an *Error.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// hinted is an error about a value with a hint how to mend it.
type hinted struct {
	error
	hint string
}

// withHint adds what mend has to say of a text to an error, if anything.
func withHint(err error, mend func(string) string, text string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, mend(text)}
}

// maxErrors bounds what one report can hold, since a hostile file can have a problem in every character.
const maxErrors = 500

// report collects problems. It is not safe for concurrent use.
type report struct {
	errs    Errors
	dropped int
	known   map[problemKey]*Error // what is in errs already
}

// problemKey tells problems apart.
type problemKey struct {
	source *source
	pos    pos
	msg    string
}

// at adds a problem at a place of a source, which may be nil or the place 0. The result can be given a hint. A repetition
// (each element of a matrix has the same problem) does not count.
func (r *report) at(s *source, p pos, msg string) *Error {
	key := problemKey{s, p, msg}
	if e := r.known[key]; e != nil {
		return e
	}
	if r.full() {
		r.dropped++
		return &Error{}
	}
	if r.known == nil {
		r.known = map[problemKey]*Error{}
	}
	e := s.problem(p, msg)
	r.errs, r.known[key] = append(r.errs, e), e
	return e
}

// atRef adds a problem at the reference at a byte offset of the text of n. It looks for the place only if that is kept.
func (r *report) atRef(s *source, n *node, offset int, msg string) *Error {
	p := n.pos
	if !r.full() {
		p = s.findRef(n, offset)
	}
	return r.at(s, p, msg)
}

// suggest sets the hint to a known name that is near, if there is one. It costs nothing for a problem that was dropped,
// since a hostile file can have very many.
func (e *Error) suggest(name string, known []string) {
	if e.Msg != "" {
		e.Hint = suggest(name, known)
	}
}

// full tells whether further problems would only be counted.
func (r *report) full() bool { return len(r.errs) >= maxErrors }

// sorted returns the problems in order, without exact repetitions (an alias can show the same text twice).
func (r *report) sorted() Errors {
	if len(r.errs) == 0 {
		return nil
	}
	errs := slices.Clone(r.errs)
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs = slices.CompactFunc(errs, func(a, b *Error) bool { return *a == *b })
	if r.dropped > 0 {
		errs = append(errs, &Error{File: errs[0].File, Msg: "and " + strconv.Itoa(r.dropped) + " more problems"})
	}
	return errs
}

// err returns the problems as an error, or nil.
func (r *report) err() error {
	if errs := r.sorted(); errs != nil {
		return errs
	}
	return nil
}
