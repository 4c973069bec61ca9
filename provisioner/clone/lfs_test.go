package clone

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// lfs is a server of Git LFS: the batch API, and the basic transfer.
type lfs struct {
	objects map[string]string // by the SHA-256
	broken  bool
}

// add keeps an object and returns its pointer.
func (l *lfs) add(content string) string {
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	l.objects[id] = content
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", id, len(content))
}

func (l *lfs) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, is := strings.CutPrefix(r.URL.Path, "/objects/"); is {
			fmt.Fprint(w, l.objects[id])
			return
		}
		if !strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch") {
			next.ServeHTTP(w, r)
			return
		}
		var asked struct{ Objects []struct{ OID string } }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		type object = map[string]any
		answer := object{"transfer": "basic"}
		var objects []object
		for _, o := range asked.Objects {
			found := object{"oid": o.OID, "size": len(l.objects[o.OID]), "actions": object{"download": object{"href": "http://" + r.Host + "/objects/" + o.OID, "header": object{"Authorization": r.Header.Get("Authorization")}}}}
			if _, have := l.objects[o.OID]; !have || l.broken {
				found = object{"oid": o.OID, "size": 1, "error": object{"code": 404, "message": "it is gone"}}
			}
			objects = append(objects, found)
		}
		answer["objects"] = objects
		w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
		_ = json.NewEncoder(w).Encode(answer)
	})
}

func TestLFS(t *testing.T) {
	const token = "s3cret"
	store := &lfs{objects: map[string]string{}}
	h := newHost(t)
	h.repo("a.git")
	h.repo("sub.git")
	attributes := "*.bin filter=lfs diff=lfs merge=lfs -text\n"
	sub := h.commit("sub.git", "main", map[string]string{".gitattributes": attributes, "below.bin": store.add("below")})
	pointer := store.add("large")
	h.commit("a.git", "main", map[string]string{".gitattributes": attributes, "a.bin": pointer, "dir/b.bin": store.add("other"), "text": "t",
		".gitmodules": modules("sub", "../sub.git"), "sub": "gitlink:" + sub})
	url, _ := serve(t, basic("oauth2", token, store.wrap(h.handler())))
	options := func() Options {
		return Options{URL: url + "/a.git", Branch: "main", LFS: true, Submodules: true, TokenFile: write(t, token)}
	}
	o := options()
	_, dir := must(t, o)
	if read(t, dir, "a.bin") != "large" || read(t, dir, "dir/b.bin") != "other" || read(t, dir, "sub/below.bin") != "below" {
		t.Error("the files are not those of LFS")
	}
	o = options()
	o.LFS = false
	if _, dir = must(t, o); read(t, dir, "a.bin") != pointer || !strings.HasPrefix(read(t, dir, "sub/below.bin"), "version") {
		t.Error("the files are not the pointers")
	}
	o = options()
	o.Sparse, o.Submodules = []string{"dir"}, false
	if _, dir = must(t, o); read(t, dir, "dir/b.bin") != "other" || read(t, dir, "a.bin") != "large" {
		t.Error("the files are not those of LFS")
	}

	// Another server for LFS, which the repository names, is judged as any URL is.
	other, seen := serve(t, basic("oauth2", "another", store.wrap(http.NotFoundHandler())))
	h.commit("a.git", "main", map[string]string{".lfsconfig": "[lfs]\n\turl = " + other + "/info/lfs\n"})
	o = options()
	o.Policy = giturl.Policy{Allow: []string{url}}
	fails(t, o, NotAllowed, "lfs.url in .lfsconfig", other)
	if requests, _ := seen.all(); len(requests) > 0 {
		t.Errorf("the other server was asked: %v", requests)
	}
	fails(t, options(), Auth)
	if _, auth := seen.all(); strings.Join(auth, "") != "" {
		t.Error("another server was shown the credential")
	}
	h.commit("a.git", "main", map[string]string{".lfsconfig": "[lfs]\n\turl = file:///tmp\n"})
	fails(t, options(), NotAllowed, "file://")

	h.commit("a.git", "main", map[string]string{".lfsconfig": ""})
	store.broken = true
	text, printed := fails(t, options(), Other, "it is gone")
	if strings.Contains(text+printed, token) {
		t.Errorf("the token is shown: %s\n%s", text, printed)
	}
}
