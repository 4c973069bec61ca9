package giturl

import (
	"errors"
	"path"
	"strings"
	"unicode"
)

// Directory checks a directory that a sparse checkout is to have, and returns it in one form, from the top of the repository and without slashes at its ends.
// What Git would take for a pattern, or for a path in quotes, is refused, and what looks like an option.
func Directory(dir string) (string, error) {
	clean := path.Clean("/" + dir)[1:]
	switch {
	case clean == "" || strings.Contains("/"+dir+"/", "/../"):
		return "", errors.New("it is no directory below the top of the repository")
	case strings.ContainsFunc(dir, unicode.IsControl) || strings.ContainsAny(dir, `*?[]\"`):
		return "", errors.New(`it contains a control character, or one of * ? [ ] \ "; name each directory as it is`)
	case strings.HasPrefix(dir, "-"):
		return "", errors.New(`it begins with a hyphen, as an option does; put "/" in front of it`)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if strings.EqualFold(part, ".git") {
			return "", errors.New("it is within .git, which belongs to Git and is in no commit")
		}
	}
	return clean, nil
}
