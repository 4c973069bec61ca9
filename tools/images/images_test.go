package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contents returns the names in a tar file with the text of the files, and the targets of links after an arrow.
func contents(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]string{}
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if h.Linkname != "" {
			text = []byte("-> " + h.Linkname)
		}
		found[h.Name] = string(text)
	}
}

func testRecipe(fill func(*layer) error) recipe {
	return recipe{name: "test", tags: []string{"localhost/wharf/test:1"}, ingredients: []string{"a"}, layers: []func(*layer) error{fill}}
}

func TestImageIsReproducible(t *testing.T) {
	source := t.TempDir()
	for _, name := range []string{"b", "a", "skipped"} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := testRecipe(func(l *layer) error {
		l.link("link", "tree/a")
		return l.tree("tree", source, func(rel string, d fs.DirEntry) bool { return rel == "skipped" })
	})
	first, second := filepath.Join(t.TempDir(), "1.tar"), filepath.Join(t.TempDir(), "2.tar")
	for _, name := range []string{first, second} {
		if err := r.write(name); err != nil {
			t.Fatal(err)
		}
	}
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Error("the same things made two different images")
	}
	image := contents(t, first)
	var manifest []struct{ RepoTags, Layers []string }
	if err := json.Unmarshal([]byte(image["manifest.json"]), &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("manifest %q: %v", image["manifest.json"], err)
	}
	if diff := cmp.Diff(r.tags, manifest[0].RepoTags); diff != "" {
		t.Error(diff)
	}
	inner := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(inner, []byte(image[manifest[0].Layers[0]]), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"link": "-> tree/a", "tree/": "", "tree/a": "a", "tree/b": "b"}
	if diff := cmp.Diff(want, contents(t, inner)); diff != "" {
		t.Error(diff)
	}
}

func TestKeyFollowsTheIngredients(t *testing.T) {
	a := testRecipe(nil)
	b := testRecipe(nil)
	if a.key() != b.key() {
		t.Error("equal recipes have different keys")
	}
	b.ingredients = []string{"b"}
	if a.key() == b.key() {
		t.Error("different recipes have equal keys")
	}
}

func TestFailedImageLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("broken")
	r := testRecipe(func(*layer) error { return broken })
	if err := r.write(filepath.Join(dir, "x.tar")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPick(t *testing.T) {
	if _, err := pick([]string{"busybox", "windows"}); err == nil {
		t.Error("an unknown image is accepted")
	}
	got, err := pick([]string{"go"})
	if err != nil || len(got) != 1 || got[0].name != "go" {
		t.Errorf("pick: %v, %v", got, err)
	}
}

// TestTogether refuses flags of which some would do nothing.
func TestTogether(t *testing.T) {
	for args, good := range map[string]bool{
		"": true, "busybox go": true, "-o=x busybox": true, "-containerd=x worker": true, "-fetch": true, "-oci=x -arch=arm64 -tag=a:1 -update": true,
		"-oci=x busybox": false, "-fetch worker": false, "-arch=arm64 worker": false, "-update": false, "-o=x -tag=a:1": false, "-o=x -oci=y": false, "-fetch -oci=x": false,
	} {
		f := flag.NewFlagSet("images", flag.ContinueOnError)
		for _, name := range []string{"o", "containerd", "oci", "arch", "tag"} {
			f.String(name, "", "")
		}
		f.Bool("update", false, "")
		f.Bool("fetch", false, "")
		if err := f.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if err := together(f); (err == nil) != good {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestLoadError(t *testing.T) {
	if err := loadError([]byte(`{"stream":"Loaded"}` + "\n")); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	if err := loadError([]byte(`{"stream":"x"}` + "\n" + `{"error":"no space left"}`)); err == nil || err.Error() != "no space left" {
		t.Errorf("a bad answer: %v", err)
	}
}
