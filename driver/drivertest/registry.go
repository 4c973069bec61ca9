package drivertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

// depot is an image registry on this machine, until the end of the case.
type depot struct {
	e       *Env
	address string
	store   http.Handler

	username, password string        // which it asks for; empty: nothing
	hold               chan struct{} // if not nil, nobody gets a manifest before it is closed

	mu   sync.Mutex
	seen []string // method and path of each request
}

// What a depot says when it refuses.
const (
	wordsDenied    = "requested access to the resource is denied"
	wordsNotLogged = "authentication required"
)

func (e *Env) depot() *depot {
	d := &depot{e: e, store: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	d.address = e.registry(d.serve)
	return d
}

func (d *depot) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.seen = append(d.seen, r.Method+" "+r.URL.Path)
	d.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case d.password != "" && (user != d.username || password != d.password):
		w.Header().Set("WWW-Authenticate", `Basic realm="the suite"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", wordsNotLogged)
		return
	case strings.HasPrefix(r.URL.Path, "/v2/denied/"):
		refuse(w, http.StatusForbidden, "DENIED", wordsDenied)
		return
	case d.hold != nil && strings.Contains(r.URL.Path, "/manifests/"):
		select {
		case <-d.hold:
		case <-r.Context().Done():
			return
		}
	}
	d.store.ServeHTTP(w, r)
}

// refuse answers as registries do (OCI distribution specification, "Error Codes").
func refuse(w http.ResponseWriter, status int, code, words string) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, words)
}

// asked counts the requests so far that have this method and text in the path.
func (d *depot) asked(method, text string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, s := range d.seen {
		if strings.HasPrefix(s, method+" ") && strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// pushed is an image to be stored: the test program, with a command, and so many bytes besides that
// no other image has.
type pushed struct {
	cmd  []string
	arch string // empty is the runtime's
	size int64
}

// push stores an image, and returns its name, and its digest.
func (d *depot) push(name string, img pushed) (ref, digest string) {
	repo, tag, _ := strings.Cut(name, ":")
	if img.arch == "" {
		img.arch = d.e.caps.Arch
	}
	manifest := d.image(repo, img)
	d.put("/v2/"+repo+"/manifests/"+tag, mediaManifest, manifest)
	digest = digestOf(manifest)
	ref = d.address + "/" + name
	d.e.removeImage(ref)
	d.e.removeImage(d.address + "/" + repo + "@" + digest)
	return ref, digest
}

// pushIndex stores an index that has the image for its architecture only.
func (d *depot) pushIndex(name string, img pushed) string {
	repo, tag, _ := strings.Cut(name, ":")
	manifest := d.image(repo, img)
	d.put("/v2/"+repo+"/manifests/"+digestOf(manifest), mediaManifest, manifest)
	index := document(map[string]any{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": []any{map[string]any{
		"mediaType": mediaManifest, "size": len(manifest), "digest": digestOf(manifest), "platform": map[string]any{"architecture": img.arch, "os": "linux"},
	}}})
	d.put("/v2/"+repo+"/manifests/"+tag, mediaIndex, index)
	d.e.removeImage(d.address + "/" + name)
	return d.address + "/" + name
}

const (
	mediaIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaConfig   = "application/vnd.docker.container.image.v1+json"
	mediaLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// image stores an image's blobs and returns its manifest.
func (d *depot) image(repo string, img pushed) []byte {
	unique, err := io.ReadAll(testprog.Content(max(img.size, 64), d.e.seed()))
	d.e.must("make an image", err)
	plain, err := layer([]tar.Header{{Name: "testprog", Mode: 0o755}, {Name: "unique", Mode: 0o644}},
		map[string]string{"testprog": string(d.e.program()), "unique": string(unique)})
	d.e.must("make an image", err)
	var packed bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is a valid one
	zip.Write(plain)                                       // a buffer takes everything
	zip.Close()
	config := document(map[string]any{
		"architecture": img.arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": imageConfig{Entrypoint: []string{"/testprog"}, Cmd: img.cmd},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(plain)}},
	})
	blob := func(media string, content []byte) map[string]any {
		d.put("/v2/"+repo+"/blobs/uploads/1?digest="+digestOf(content), "application/octet-stream", content)
		return map[string]any{"mediaType": media, "size": len(content), "digest": digestOf(content)}
	}
	return document(map[string]any{
		"schemaVersion": 2, "mediaType": mediaManifest, "config": blob(mediaConfig, config), "layers": []any{blob(mediaLayer, packed.Bytes())},
	})
}

func document(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the suite's own mistake
	}
	return b
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// put stores something behind the registry's door.
func (d *depot) put(path, media string, content []byte) {
	r, err := http.NewRequestWithContext(d.e.ctx, http.MethodPut, path, bytes.NewReader(content))
	d.e.must("push an image", err)
	r.Header.Set("Content-Type", media)
	var w answer
	d.store.ServeHTTP(&w, r)
	if w.status != http.StatusCreated && w.status != http.StatusOK {
		d.e.Fatalf("push to the suite's registry: PUT %s: %d %s", path, w.status, w.Bytes())
	}
}

// answer keeps what a handler answers.
type answer struct {
	bytes.Buffer
	header http.Header
	status int
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(status int) { a.status = status }

// program is the test program, as an image of the runtime has it.
func (e *Env) program() []byte {
	s := e.suite
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.binary != nil {
		return s.binary
	}
	id, err := e.d.Create(e.ctx, e.spec("exit", "0"))
	e.must("Create", err)
	defer e.removeNow(id)
	r, err := e.d.CopyOut(e.ctx, driver.CopyOutOptions{Place: onTask(id), Path: "/testprog"})
	e.must("CopyOut of the test program", err)
	defer r.Close()
	in := tar.NewReader(r)
	_, err = in.Next()
	e.must("CopyOut of the test program", err)
	s.binary, err = io.ReadAll(in)
	e.must("CopyOut of the test program", err)
	return s.binary
}

// seed is a number that this case has alone.
func (e *Env) seed() uint64 {
	var n uint64
	for _, b := range []byte(e.name()) {
		n = n*131 + uint64(b)
	}
	return n
}

// removeImage lets the end of the case remove an image from the runtime, after the tasks that use it.
func (e *Env) removeImage(ref string) {
	remove := e.suite.h.RemoveImage
	if remove == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images = append(e.images, ref)
}

// removeImages is the first that is registered for the end, and so the last that is called but one.
func (e *Env) removeImages(ctx context.Context) {
	for _, ref := range e.images {
		if err := e.suite.h.RemoveImage(ctx, ref); err != nil {
			e.Errorf("Harness.RemoveImage %s: %v", ref, err)
		}
	}
}

// closedPort is an address of this machine, as the runtime sees it, where nothing listens.
func (e *Env) closedPort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	e.must("find a port", err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	return net.JoinHostPort(e.suite.h.RegistryHost, port)
}
