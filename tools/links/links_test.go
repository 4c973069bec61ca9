package links

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

// link finds the target of a Markdown link, without a title.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// notAnchor is what GitHub leaves out when it makes an anchor of a heading.
var notAnchor = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)

// anchors returns the anchors of a document's headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			title = notAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			found[strings.ReplaceAll(title, " ", "-")] = true
		}
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	documents := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != top {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		documents++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			follow(t, path, m[1])
		}
		return nil
	})
	if err != nil || documents == 0 {
		t.Errorf("%d documents found: %v", documents, err)
	}
}

// follow checks a link within the repository.
func follow(t *testing.T, from, target string) {
	t.Helper()
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return
	}
	file, anchor, _ := strings.Cut(target, "#")
	path := from
	if file != "" {
		path = filepath.Join(filepath.Dir(from), file)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s: the link %q leads nowhere", from, target)
		return
	}
	if anchor == "" {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil || !anchors(string(text))[anchor] {
		t.Errorf("%s: the link %q has no such heading (%v)", from, target, err)
	}
}
