package pipeline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// files reads the files that a scalar or a list of scalars names, and substitutes the variables in them.
func (b *builder) files(n *node) []File {
	if n == nil {
		return nil
	}
	if n.form != list {
		return b.file(n)
	}
	var files []File
	for _, item := range n.items {
		files = append(files, b.file(item)...)
	}
	return files
}

// file reads one file, or those of a directory as kubectl does: the YAML and JSON files right in it.
func (b *builder) file(n *node) []File {
	if isURL(n.text) {
		return []File{{Path: n.text}}
	}
	name := path.Clean(strings.ReplaceAll(n.text, `\`, "/"))
	if b.opts.Files == nil {
		return []File{{Path: name}}
	}
	if !b.look(n, 1) {
		return nil
	}
	info, err := fs.Stat(b.opts.Files, name)
	if err != nil {
		b.fileError(n, name, err)
		return nil
	}
	if !info.IsDir() {
		return b.read(n, name)
	}
	entries, err := fs.ReadDir(b.opts.Files, name)
	if err != nil {
		b.fileError(n, name, err)
		return nil
	}
	if !b.look(n, len(entries)) {
		return nil
	}
	var files []File
	for _, e := range entries {
		switch path.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			if !e.IsDir() {
				files = append(files, b.read(n, path.Join(name, e.Name()))...)
			}
		}
	}
	if len(files) == 0 {
		b.fileError(n, name, errors.New("the directory has no YAML or JSON file"))
	}
	return files
}

// look counts how often something in the repository is looked at. If that is too often it says so once and returns false.
func (b *builder) look(n *node, times int) bool {
	if b.looks > maxLooks {
		return false
	}
	if b.looks += times; b.looks > maxLooks {
		b.report.at(b.scope.source, n.pos, fmt.Sprintf("steps refer to more than %d files, counting all in their directories", maxLooks))
		return false
	}
	return true
}

func (b *builder) read(n *node, name string) []File {
	if b.scope.spent() {
		return nil
	}
	if info, err := fs.Stat(b.opts.Files, name); err == nil && !info.Mode().IsRegular() {
		b.fileError(n, name, errors.New("it is no regular file"))
		return nil
	}
	f, err := b.opts.Files.Open(name)
	if err != nil {
		b.fileError(n, name, err)
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if !b.scope.spend(n.pos, len(data)) {
		return nil
	}
	switch {
	case err == nil && len(data) > maxText:
		err = fmt.Errorf("it has more than %d MiB", maxText>>20)
	case err == nil && !utf8.Valid(data):
		err = errors.New("it is no UTF-8 text")
	}
	if err != nil {
		b.fileError(n, name, err)
		return nil
	}
	shown := name
	if n.secret {
		shown = n.show()
	}
	content := b.scope.inFile(shown, string(data))
	return []File{{Path: name, Loaded: true, Content: content}}
}

func (b *builder) fileError(n *node, name string, err error) {
	name = quote(name)
	if n.secret {
		name = n.show()
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	b.report.at(b.scope.source, n.pos, fmt.Sprintf("the file %s cannot be read: %v", name, err))
}

// inFile substitutes the content of a file; problems have their places there.
func (s *scope) inFile(name, content string) string {
	outer := s.source
	s.source = newSource(name, content)
	defer func() { s.source = outer }()
	return s.expand(&node{form: text, pos: pos{1, 1}, text: content}, ofMatrix, false).text
}
