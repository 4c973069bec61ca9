package pipeline

import (
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// suggest returns `did you mean "x"?` for the known name nearest to name, or an empty string if none is near.
func suggest(name string, known []string) string { return didYouMean(nearest(name, known)) }

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "did you mean " + quote(name) + "?"
}

// synonyms are what other tools call keys of this language.
var synonyms = map[string]string{
	"command": keyCmds, "commands": keyCmds, "script": keyCmds, "scripts": keyCmds, "run": keyCmds, "steps": keyCmds,
	"dependson": "needs", "dependencies": "needs", "requires": "needs",
	"environment": "env", "variables": "env", "vars": "env",
	"retries": "retry",
}

// nearest returns the known name that name seems to stand for, or an empty string.
func nearest(name string, known []string) string {
	const maxNames, maxLen = 200, 48
	if len(name) > maxLen || name == "" {
		return ""
	}
	if meant := synonyms[fold(name)]; slices.Contains(known, meant) {
		return meant
	}
	best, bestDist := "", len(name)/3+1
	if len(name) < 4 {
		bestDist = 1 // everything is near a name of three letters
	}
	for _, k := range known[:min(len(known), maxNames)] {
		if len(k) > maxLen || max(len(k)-len(name), len(name)-len(k)) > maxLen/2 {
			continue
		}
		dist := levenshtein.Distance(fold(name), fold(k), nil)
		if dist < bestDist || dist == bestDist && best == "" {
			best, bestDist = k, dist
		}
	}
	if best == "" || bestDist >= len([]rune(name)) {
		return ""
	}
	return best
}

// fold removes the differences that people do not see as such.
func fold(s string) string {
	return separators.Replace(strings.ToLower(s))
}

var separators = strings.NewReplacer("-", "", "_", "")

// oneOf lists names for a message: `"a", "b" or "c"`.
func oneOf(names []string) string {
	var b strings.Builder
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(quote(n))
	}
	return b.String()
}
