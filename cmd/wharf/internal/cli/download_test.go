package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// keptFiles makes the results of a build that has kept some files, by name.
func keptFiles(t *testing.T, files map[string]string) (*target.Target, map[string]client.Artifact) {
	t.Helper()
	results := t.TempDir()
	w, err := journal.Create(results, journal.Options{Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]client.Artifact{}
	for name, text := range files {
		sum := sha256.Sum256([]byte(text))
		a := client.Artifact{Step: "s", Name: name, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
		path := filepath.Join(results, journal.Artifacts, "s", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
		w.Append(journal.Event{Kind: journal.KindArtifact, Step: a.Step, Name: a.Name, Size: a.Size, SHA256: a.SHA256})
		all[name] = a
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := target.OpenDir(t.Context(), results)
	if err != nil {
		t.Fatal(err)
	}
	return found, all
}

// A download goes on with what an earlier one has left, and begins anew where that is not the beginning of the file.
func TestDownload(t *testing.T) {
	for what, left := range map[string]string{"nothing": "", "its beginning": "some ", "something else": "other", "too much": strings.Repeat("x", 100)} {
		found, files := keptFiles(t, map[string]string{"x": "some text", "x.part": "more"})
		out := t.TempDir()
		root, err := os.OpenRoot(out)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		d := download{found, root, files["x"]}
		if err := errors.Join(os.Mkdir(filepath.Join(out, unfinished), 0o755), os.WriteFile(filepath.Join(out, d.part()), []byte(left), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := fetch(t.Context(), found, out, []client.Artifact{files["x"], files["x.part"]}); err != nil {
			t.Fatalf("%s is left: %v", what, err)
		}
		for name, want := range map[string]string{"x": "some text", "x.part": "more"} {
			path := filepath.Join(out, "s", name)
			info, statErr := os.Stat(path)
			got, err := os.ReadFile(path)
			if err != nil || statErr != nil || string(got) != want || info.Mode()&0o100 == 0 {
				t.Errorf("%s is left: %s is %q, %v, %v", what, name, got, info, err)
			}
		}
		if _, err := os.Stat(filepath.Join(out, unfinished)); err == nil {
			t.Errorf("%s is left: %s is still there", what, unfinished)
		}
	}
}

// A file that is not what the journal says is not kept.
func TestDownloadOfAnother(t *testing.T) {
	found, files := keptFiles(t, map[string]string{"x": "some text"})
	a := files["x"]
	a.SHA256 = strings.Repeat("0", 64)
	out := t.TempDir()
	if err := fetch(t.Context(), found, out, []client.Artifact{a}); err == nil || !strings.Contains(err.Error(), "differs") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(out, "s", "x")); err == nil {
		t.Error("it is kept")
	}
}
