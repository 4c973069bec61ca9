package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

const maxID = 63

var plainName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// stepID makes the ID of a step. Names that are plain already are joined, which no other pair of plain names can equal;
// all others get a hash of their exact text, set off by a second "--" so that they never equal a plain ID.
func stepID(stage, name string) string {
	if id := stage + "--" + name; len(id) <= maxID && plainName.MatchString(stage) && plainName.MatchString(name) {
		return id
	}
	sum := sha256.Sum256([]byte(stage + "\x00" + name))
	hash := hex.EncodeToString(sum[:5])
	room := (maxID - len(hash) - 4) / 2
	return slug(stage, room) + "--" + slug(name, room) + "--" + hash
}

var notPlain = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes text plain, with at most limit bytes and at least one.
func slug(s string, limit int) string {
	s = s[:min(len(s), 1<<10)] // what comes later has no room
	s = strings.Trim(notPlain.ReplaceAllString(strings.ToLower(s), "-"), "-")
	s = strings.Trim(s[:min(len(s), limit)], "-")
	if s == "" {
		return "x"
	}
	return s
}
