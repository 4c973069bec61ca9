package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hangs is when a command is taken to wait for something that does not come; on a busy machine nothing else takes so long.
const hangs = 2 * time.Minute

// refused runs a definition that is wrong, or that asks for what there is not.
func refused(t *testing.T, code int, text string, says []string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".wharf-ci.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := wharf(t, append([]string{"run", "--output", "plain", dir}, args...)...)
	began := time.Now()
	said, err := cmd.CombinedOutput()
	if got := exitCode(t, err); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	if took := time.Since(began); took > hangs {
		t.Errorf("it took %v", took)
	}
	for _, words := range says {
		if !strings.Contains(string(said), words) {
			t.Errorf("it does not say %q", words)
		}
	}
	if len(said) > 128<<10 {
		t.Errorf("it says %d bytes", len(said))
	}
	if t.Failed() {
		t.Logf("it says:\n%.4000s", said)
	}
	nothingLeft(t, cmd)
}

func oneStep(container string) string { return "build:\n  step:\n    container: " + container + "\n" }

const fine = "{image: 'localhost/wharf/busybox:1', cmds: [echo fine]}"

func TestMissing(t *testing.T) {
	t.Parallel()
	choices := "inputs:\n- {name: word, type: string}\nenvironments:\n  here: {}\n" + oneStep(fine)
	for name, c := range map[string]struct {
		code int
		text string
		args []string
		says []string
	}{
		"image": {1, oneStep("{image: 'localhost/wharf/no-such:1', cmds: [echo]}"), []string{"--pull", "never"},
			[]string{"build/step | -- failed", "localhost/wharf/no-such:1"}},
		"image of a service": {1, oneStep("{image: 'localhost/wharf/busybox:1', cmds: [echo], services: {db: {image: 'localhost/wharf/no-such:1'}}}"), []string{"--pull", "never"},
			[]string{"build/step | -- failed", "localhost/wharf/no-such:1"}},
		"name of an image": {2, oneStep("{image: 'NOT a name', cmds: [echo]}"), nil, []string{".wharf-ci.yml:3:", "NOT a name"}},
		"shell":            {1, oneStep("{image: 'localhost/wharf/busybox:1', shell: /bin/no-such, cmds: [echo]}"), nil, []string{"build/step | -- failed: start failed", "the image has no shell /bin/no-such; set \"shell\" to one that it has"}},
		"command":          {1, oneStep("{image: 'localhost/wharf/busybox:1', cmds: [no-such-command]}"), nil, []string{"no-such-command: not found", "exited with code 127"}},
		"user":             {1, oneStep("{image: 'localhost/wharf/busybox:1', user: nosuch, cmds: [echo]}"), nil, []string{"start failed", "nosuch"}},
		"file":             {2, "build:\n  step:\n    kubectl: {file: no/such.yml}\n", nil, []string{".wharf-ci.yml:3:", "no/such.yml"}},
		"environment":      {2, choices, []string{"-e", "there", "-i", "word=x"}, []string{`"there"`, "here"}},
		"environment of a stage": {2, "build:\n  environments: [there]\n  step:\n    container: " + fine + "\n", nil,
			[]string{".wharf-ci.yml:2:18:", `the environment "there" is not defined`}},
		"input":         {2, choices, nil, []string{"word"}},
		"unknown input": {2, choices, []string{"-i", "word=x", "-i", "wrod=x"}, []string{"wrod"}},
		"stage":         {2, choices, []string{"-i", "word=x", "-s", "biuld"}, []string{"biuld"}},
		"needed step":   {2, oneStep("{image: x, cmds: [echo], needs: [other]}"), nil, []string{"other"}},
		"secret":        {2, oneStep("{image: x, cmds: [echo], secretName: key}"), nil, []string{"key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.code, c.text, c.says, c.args...)
		})
	}
}

// TestMissingOnRegistry asks a registry that knows no image, and one that is not there.
func TestMissingOnRegistry(t *testing.T) {
	t.Parallel()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
	}))
	address := strings.TrimPrefix(registry.URL, "http://")
	refused(t, 1, oneStep("{image: '"+address+"/app:1', cmds: [echo]}"), []string{"build/step | -- failed", address + "/app:1", "manifest unknown"})
	registry.Close()
	refused(t, 3, oneStep("{image: '"+address+"/app:1', cmds: [echo]}"), []string{"build/step | -- errored", address, "connection refused"})
}

// TestBombs has definitions that are made to cost time, memory or patience.
func TestBombs(t *testing.T) {
	t.Parallel()
	var laughs, doubling strings.Builder
	laughs.WriteString("a0: &a0 [ha]\n")
	doubling.WriteString("environments:\n  stage:\n    v0: haha\n")
	for i := range 40 {
		ref := fmt.Sprintf("*a%d", i)
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(ref+", ", 10), ", "))
		fmt.Fprintf(&doubling, "    v%d: '${v%d}${v%d}'\n", i+1, i, i)
	}
	doubling.WriteString(oneStep("{image: 'localhost/wharf/busybox:1', cmds: ['echo ${v40}']}"))
	for name, c := range map[string]struct {
		text string
		args []string
		says []string
	}{
		"10 MiB":             {oneStep(fine) + strings.Repeat("# a comment\n", 10<<20/12), nil, []string{"1 MiB"}},
		"10 MiB of one line": {"build: " + strings.Repeat("x", 10<<20), nil, []string{"1 MiB"}},
		"laughs":             {laughs.String(), nil, []string{".wharf-ci.yml:"}},
		"doubling":           {doubling.String(), []string{"-e", "stage"}, []string{".wharf-ci.yml:", "4 MiB"}},
		"alias of itself":    {"build: &a\n  step: *a\n", nil, []string{".wharf-ci.yml:"}},
		"depth":              {strings.Repeat("[", 500_000), nil, []string{".wharf-ci.yml:"}},
		"depth of maps":      {strings.Repeat("{a: ", 200_000), nil, []string{".wharf-ci.yml:"}},
		"matrix": {oneStep("{image: x, cmds: [echo], matrix: {a: [1,2,3,4,5,6,7,8,9], b: [1,2,3,4,5,6,7,8,9], c: [1,2,3,4,5,6,7,8,9]}}"), nil,
			[]string{".wharf-ci.yml:3:", "256"}},
		"errors":         {"build:\n" + strings.Repeat("  step: {contianer: {}}\n", 20_000), nil, []string{".wharf-ci.yml:"}},
		"no text":        {"build:\x00\xff\xfe", nil, []string{".wharf-ci.yml"}},
		"half a file":    {"build:\n  step:\n    container: {image: x, cmds: [ec", nil, []string{".wharf-ci.yml:3:"}},
		"a tab":          {"build:\n\tstep: {}\n", nil, []string{".wharf-ci.yml:2:"}},
		"two documents":  {oneStep(fine) + "---\n" + oneStep(fine), nil, []string{".wharf-ci.yml:"}},
		"no map":         {"- build\n", nil, []string{".wharf-ci.yml:1:"}},
		"the same twice": {oneStep(fine) + oneStep(fine), nil, []string{".wharf-ci.yml:4:", "build"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, 2, c.text, c.says, c.args...)
		})
	}
}
