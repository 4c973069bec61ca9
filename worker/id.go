package worker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// maxID is how long a build's ID may be, so that the names that begin with it keep room for a step's.
const maxID = 32

// sortable is base 32 with digits and lower-case letters that sort as the numbers do.
var sortable = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns an ID for a build: 16 of 0–9 and a–v, that sort by the time of the call (in milliseconds) and are random otherwise.
func NewID() string {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails
	return sortable.EncodeToString(b[:])
}

// taskName names an attempt of a step on the runtime: unique in the build, and with as much of the step's ID as fits.
func taskName(build, step string, attempt int) string {
	return build + "-" + fit(step, 63-len(build)-2-len(strconv.Itoa(attempt))) + "-" + strconv.Itoa(attempt)
}

// fit shortens a name to n characters; what is lost goes into a hash.
func fit(name string, n int) string {
	if len(name) <= n {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:n-9], "-.") + "-" + hex.EncodeToString(sum[:4])
}

// cacheName names the volume of a cache: the same for the same project and key, and readable as far as the key allows.
// The project and the key are hashed with their lengths, so that no two pairs are taken for one.
func cacheName(project, key string) string {
	h := sha256.New()
	for _, s := range []string{project, key} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	slug := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '-'
	}, key[:min(len(key), 24)]), "-")
	return strings.TrimSuffix("cache-"+slug, "-") + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}
