package endtoend

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner"
)

// lfs is a server of Git LFS: the batch API, and the basic transfer. Its objects are by their SHA-256.
type lfs map[string]string

// add keeps an object and returns its pointer.
func (l lfs) add(content string) string {
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	l[id] = content
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", id, len(content))
}

// wrap serves the objects beside the repositories.
func (l lfs) wrap(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("GET /objects/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, l[r.PathValue("id")]) })
	mux.HandleFunc("POST /{repository}/info/lfs/objects/batch", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Objects []struct{ OID string } }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		type object = map[string]any
		objects := []object{}
		for _, o := range asked.Objects {
			download := object{"href": "http://" + r.Host + "/objects/" + o.OID, "header": object{"Authorization": r.Header.Get("Authorization")}}
			objects = append(objects, object{"oid": o.OID, "size": len(l[o.OID]), "actions": object{"download": download}})
		}
		w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
		_ = json.NewEncoder(w).Encode(object{"transfer": "basic", "objects": objects}) // the client has gone
	})
	return mux
}

// checks is a definition whose step succeeds if a script does.
func checks(script ...string) string {
	return "check:\n  files:\n    container:\n      image: " + stepImage + "\n      cmds:\n        - " + strings.Join(script, "\n        - ") + "\n"
}

// is and none are scripts: a file has a content; it is not there.
func is(file, content string) string { return fmt.Sprintf(`test "$(cat %s)" = %s`, file, content) }
func none(file string) string        { return "test ! -e " + file }

// TestSources has builds use what only comes on demand: submodules, files of Git LFS, a part of the tree, a directory of it, a commit that is not the last one.
func TestSources(t *testing.T) {
	p := begin(t, "--limit=3")
	store := lfs{}
	p.git = serve(t, guarded(store.wrap(p.gitHandler())))
	const attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
	leaf := p.commit("leaf", "main", map[string]string{"leaf": "old"})
	p.commit("leaf", "main", map[string]string{"leaf": "new"})
	p.commit("top", "main", map[string]string{
		".gitmodules": "[submodule \"sub\"]\n\tpath = sub\n\turl = ../leaf.git\n", "sub": gitlink + leaf, ".gitattributes": attributes, "large.bin": store.add("large"),
		definitionFile: checks(is("sub/leaf", "old"), is("large.bin", "large")), "without/" + definitionFile: checks(none("../sub/leaf")),
	})
	p.commit("tree", "main", map[string]string{
		"a/file": "a", "b/file": "b", definitionFile: checks(is("a/file", "a"), none("b/file")),
		"b/" + definitionFile: checks(is("file", "b")),
	})
	early := p.commit("past", "main", map[string]string{"file": "early", definitionFile: checks(is("file", "early"))})
	p.commit("past", "main", map[string]string{"file": "late", definitionFile: checks("false")})
	late := p.commit("past", "main", map[string]string{"file": "later"})
	cases := []struct {
		repository string
		more       []string
		commit     string
		state      provisioner.State
		reason     string
	}{
		{"top", []string{"GIT_SUBMODULES", "true", "GIT_LFS", "true"}, "", provisioner.Succeeded, ""},
		{"top", []string{"GIT_SUBMODULES", "true"}, "", provisioner.Failed, ""}, // the pointer is in the file's place
		{"tree", []string{"GIT_SPARSE", "a"}, "", provisioner.Succeeded, ""},
		{"tree", []string{"GIT_SPARSE", "missing"}, "", provisioner.Failed, "sparse path"},
		{"tree", []string{"REPO_DIRECTORY", "b"}, "", provisioner.Succeeded, ""},
		{"tree", []string{"REPO_DIRECTORY", "missing"}, "", provisioner.Failed, "missing"},
		{"past", []string{"GIT_COMMIT", early}, early, provisioner.Succeeded, ""},
		{"past", []string{"GIT_COMMIT", leaf}, "", provisioner.Failed, "does not contain the commit"},
		{"past", nil, late, provisioner.Failed, ""},
	}
	ids := make([]string, len(cases))
	for i, c := range cases {
		ids[i] = p.trigger(40+i, c.repository, "main", c.more...).ID
	}
	for i, c := range cases {
		w := p.until(ids[i], c.state)
		if !strings.Contains(w.Reason, c.reason) || c.commit != "" && w.Commit != c.commit {
			t.Errorf("%s, %v: built was %q, the reason is %q; want %q, %q", c.repository, c.more, w.Commit, w.Reason, c.commit, c.reason)
		}
	}
	if _, err := p.client.Prune(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
