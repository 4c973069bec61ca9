//go:build unix

package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Of a directory that others have filled nothing is read but regular files in it, whatever leads to them.
func TestReadFile(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(outside, "secret"), filepath.Join(dir, "real")} {
		if err := os.WriteFile(path, []byte("vars: {A: "+filepath.Base(path)+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for target, says := range map[string]string{
		"real": "", filepath.Join(dir, "real"): "",
		filepath.Join(outside, "secret"): "is not in the directory", "../" + filepath.Base(outside) + "/secret": "is not in the directory",
		"out/secret": "is not in the directory", "/dev/zero": "is not in the directory",
		"fifo": "no regular file", "out/..": "is not in the directory", ".": "no regular file", "none": "no such file",
	} {
		link := filepath.Join(dir, VarFile)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		data, err := ReadFile(dir, VarFile)
		if says == "" && string(data) != "vars: {A: real}" || says != "" && (data != nil || err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("a link to %s: %q, %v; want %q", target, data, err, says)
		}
		layers, err := ReadVarFiles(dir, func(string) string { return "" })
		missing := target == "none"
		if (err == nil) != (says == "" || missing) || len(layers) > 0 && missing {
			t.Errorf("a link to %s: variables %v, %v", target, layers, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "config", "wharf")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(config, ConfigVarFile)); err != nil {
		t.Fatal(err)
	}
	layers, err := ReadVarFiles(dir, func(name string) string { return map[string]string{"XDG_CONFIG_HOME": filepath.Dir(config)}[name] })
	if err != nil || len(layers) != 1 || layers[0].Values["A"] != "secret" {
		t.Errorf("a link in a configuration directory: %v, %v", layers, err)
	}
}
