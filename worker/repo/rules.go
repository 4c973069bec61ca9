package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// fileRules are the .gitignore files of a directory tree, read as it is walked. A later rule wins over an earlier one, and a
// deeper file over a higher one; what lies in an ignored directory is never looked at.
type fileRules struct {
	dir, base string
	levels    []level // from the top down to the directory entered last
}

// level holds the rules of one directory.
type level struct {
	rel   string
	rules []rule
}

// rule is one line of a .gitignore.
type rule struct {
	glob            string // relative to the directory of the file
	negate, dirOnly bool
}

// newFileRules returns the rules of the tree at dir, whose path in the whole repository is base.
func newFileRules(dir, base string) *fileRules {
	r := &fileRules{dir: dir, base: base}
	if rules, err := readRules(filepath.Join(dir, ".git", "info", "exclude")); err == nil {
		r.levels = append(r.levels, level{base, rules})
	}
	return r
}

func (r *fileRules) enter(rel string) error {
	for n := len(r.levels); n > 0 && !contains(r.levels[n-1].rel, rel); n-- {
		r.levels = r.levels[:n-1]
	}
	local, _ := within(r.base, rel)
	rules, err := readRules(filepath.Join(r.dir, filepath.FromSlash(local), ".gitignore"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoFile) {
		return err
	}
	if len(rules) > 0 {
		r.levels = append(r.levels, level{rel, rules})
	}
	return nil
}

func (r *fileRules) ignored(rel string, dir bool) bool {
	for i := len(r.levels) - 1; i >= 0; i-- {
		local, ok := within(r.levels[i].rel, rel)
		if !ok {
			continue
		}
		rules := r.levels[i].rules
		for j := len(rules) - 1; j >= 0; j-- {
			if rules[j].matches(local, dir) {
				return !rules[j].negate
			}
		}
	}
	return false
}

func (r *rule) matches(rel string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	ok, err := doublestar.Match(r.glob, rel)
	return ok && err == nil
}

// within returns rel relative to dir, and whether it lies in dir.
func within(dir, rel string) (string, bool) {
	switch dir {
	case ".":
		return rel, true
	case rel:
		return ".", true
	}
	return strings.CutPrefix(rel, dir+"/")
}

func contains(dir, rel string) bool {
	_, ok := within(dir, rel)
	return ok
}

// maxSmall bounds the files that say something about the repository.
const maxSmall = 16 << 20

// errNoFile says that something is no regular file. Git reads no link in its place either, and one might lead to anything, or
// never end.
var errNoFile = errors.New("it is no regular file")

// readSmall reads a regular file.
func readSmall(name string) ([]byte, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	f, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errNoFile)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(text) > maxSmall {
		err = fmt.Errorf("it has more than %d MiB", maxSmall>>20)
	}
	return text, err
}

func readRules(file string) ([]rule, error) {
	text, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	var rules []rule
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		if r, ok := parseRule(lines.Text()); ok {
			rules = append(rules, r)
		}
	}
	return rules, lines.Err()
}

// parseRule reads one line, and reports whether it is a rule.
func parseRule(line string) (rule, bool) {
	line = strings.TrimSuffix(line, "\r")
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if line == "" || line[0] == '#' {
		return rule{}, false
	}
	var r rule
	line, r.negate = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return rule{}, false
	}
	// Braces mean nothing to Git, and something to doublestar; "a/**" is what is in a, not a itself.
	line = strings.NewReplacer("{", `\{`, "}", `\}`).Replace(line)
	if strings.HasSuffix(line, "/**") {
		line += "/*"
	}
	if !anchored {
		line = "**/" + line
	}
	r.glob = line
	return r, doublestar.ValidatePattern(line)
}
