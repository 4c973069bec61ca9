package pipeline

import (
	_ "crypto/sha256" // makes its digests known
	_ "crypto/sha512" // makes its digests known
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// imagePattern is what every image reference fits, for the schema.
const imagePattern = `^[A-Za-z0-9\[][^\s]*$`

// checkImage takes an image reference in the notation of the registries' tools. What still holds a reference to a
// variable that nobody defined was warned of, and is left alone.
func checkImage(s string) error {
	if strings.Contains(s, "${") || isImage(s) {
		return nil
	}
	return &hinted{fmt.Errorf("must be the name of an image, but this is %s", quote(s)), imageHint(s)}
}

// maxImage is more than the longest host, repository, tag and digest together.
const maxImage = 1024

func isImage(s string) bool {
	if len(s) > maxImage {
		return false
	}
	_, err := reference.ParseAnyReference(s)
	return err == nil
}

// otherVariable matches a variable in the notations of shells and of templates.
var otherVariable = regexp.MustCompile(`\$([A-Za-z_]\w{0,60})|\{\{\s*[.$]?([A-Za-z_][\w.]{0,60})\s*\}\}`)

// imageHint says what is wrong with the name of an image, or what one looks like.
func imageHint(s string) string {
	name, isURL := s, false
	if _, rest, ok := strings.Cut(s, "://"); ok {
		name, isURL = rest, true
	}
	if m := otherVariable.FindStringSubmatch(s); m != nil {
		return "a variable is written ${" + m[1] + m[2] + "}"
	}
	switch trimmed := strings.TrimRight(strings.TrimSpace(name), ":@/"); {
	case isURL && isImage(name):
		return fmt.Sprintf("an image has no %q in front: did you mean %s?", strings.TrimSuffix(s, name), quote(name))
	case strings.HasSuffix(s, ":") && isImage(trimmed):
		return fmt.Sprintf(`a tag must follow the ":", as in %s`, quote(trimmed+":latest"))
	case trimmed != s && isImage(trimmed):
		return "did you mean " + quote(trimmed) + "?"
	case isImage(lowerRepository(s)):
		return fmt.Sprintf("it must be in lower case: did you mean %s?", quote(lowerRepository(s)))
	}
	return `an image looks like "alpine:3" or "registry.example.com/group/name:tag"`
}

// lowerRepository turns all but the tag into lower case.
func lowerRepository(s string) string {
	at := max(strings.LastIndexByte(s, '/'), 0)
	if i := strings.IndexByte(s[at:], ':'); i >= 0 {
		return strings.ToLower(s[:at+i]) + s[at+i:]
	}
	return strings.ToLower(s)
}

// checkShell takes a program without arguments. White space can be in the names of its directories only.
func checkShell(s string) error {
	words := strings.Fields(s)
	if len(words) < 2 && strings.TrimSpace(s) == s {
		return nil
	}
	file := s[strings.LastIndexAny(s, `/\`)+1:]
	inDirectory := strings.ContainsAny(s[:max(strings.IndexAny(s, " \t\n"), 0)], `/\`) && len(strings.Fields(file)) == 1
	for _, w := range words[min(1, len(words)):] {
		inDirectory = inDirectory && !strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "/")
	}
	if inDirectory && strings.TrimSpace(s) == s {
		return nil
	}
	hint := `write the name or the path of the shell alone`
	if len(words) > 1 && strings.HasPrefix(words[1], "-") {
		hint = fmt.Sprintf(`write %s alone, and set options in the first of the cmds, as in "set -e"`, quote(words[0]))
	}
	return &hinted{fmt.Errorf("must be one program without arguments, but this is %s", quote(s)), hint}
}
