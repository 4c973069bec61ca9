package giturl

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ValidBranch checks the name of a branch by the rules of "git check-ref-format refs/heads/NAME", and refuses further what
// "git branch" does, a leading hyphen and HEAD, and what is not UTF-8, since it could not be told in JSON.
func ValidBranch(name string) error {
	if err := validBranch(name); err != nil {
		return fmt.Errorf("%q is no name of a branch: %w", name, err)
	}
	return nil
}

func validBranch(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case name == "HEAD":
		return errors.New("Git keeps this name for itself")
	case name[0] == '-':
		return errors.New("it begins with a hyphen, as an option does")
	case !utf8.ValidString(name):
		return errors.New("it is not valid UTF-8")
	case strings.Contains(name, ".."):
		return errors.New(`it contains ".."`)
	case strings.Contains(name, "@{"):
		return errors.New(`it contains "@{"`)
	case strings.HasSuffix(name, "."):
		return errors.New("it ends with a dot")
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return errors.New("it contains a control character")
		}
		if strings.ContainsRune(` ~^:?*[\`, r) {
			return fmt.Errorf("it contains %q", r)
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return errors.New("a slash is at its beginning or end, or two follow each other")
		case part[0] == '.':
			return errors.New("a part of it begins with a dot")
		case strings.HasSuffix(part, ".lock"):
			return errors.New(`a part of it ends with ".lock"`)
		}
	}
	return nil
}

// ValidCommit checks that a commit is named by its whole hash, in lower case: 40 digits, or 64 where a repository uses SHA-256.
func ValidCommit(hash string) error {
	if len(hash) != 40 && len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is no commit: give the whole hash, 40 hexadecimal digits in lower case (64 with SHA-256)", hash)
	}
	return nil
}
