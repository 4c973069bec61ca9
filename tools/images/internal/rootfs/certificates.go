package rootfs

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// Certificates returns what update-ca-certificates would make of the certificates in the tree, all of which are enabled: one after the other in the order of
// their names, each on lines of its own.
func (t Tree) Certificates() []byte {
	var bundle bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if !strings.HasPrefix(name, "usr/share/ca-certificates/") || !strings.HasSuffix(name, ".crt") || t[name].Link != "" {
			continue
		}
		bundle.Write(t[name].Content)
		if !bytes.HasSuffix(t[name].Content, []byte("\n")) {
			bundle.WriteByte('\n')
		}
	}
	return bundle.Bytes()
}
