package main

import (
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	goDir     = "/usr/local/go"
	moduleDir = "/go/pkg/mod"
)

// certificates is where Debian keeps the certificates of the authorities that it trusts.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// recipes returns the recipes of all images but the worker's, which has to be named; those that are not asked for may lack what costs time to find out.
func recipes(names []string) ([]recipe, error) {
	box, err := findBusybox()
	if err != nil {
		return nil, err
	}
	busybox := recipe{
		name: "busybox", tags: []string{"localhost/wharf/busybox:1"},
		ingredients: []string{box.key},
		layers:      []func(*layer) error{box.fill},
	}
	tool, err := findGo()
	if err != nil {
		return nil, err
	}
	golang := recipe{
		name: "go", tags: []string{"localhost/wharf/go:1", "localhost/wharf/go:" + tool.version},
		env:         []string{"GOPATH=/go", "GOTOOLCHAIN=local", "CGO_ENABLED=0"},
		ingredients: append(slices.Clone(busybox.ingredients), tool.version),
		layers:      append(slices.Clone(busybox.layers), tool.fill),
	}
	all := []recipe{busybox, golang}
	if len(names) == 0 || slices.Contains(names, "helper") {
		h, err := buildHelper()
		if err != nil {
			return nil, err
		}
		all = append(all, recipe{name: "helper", tags: []string{"localhost/wharf/helper:1"}, ingredients: []string{h.key()}, layers: []func(*layer) error{h.fill}})
	}
	if slices.Contains(names, "worker") {
		w, err := workerRecipe(runtime.GOARCH, workerTag, false)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	if len(names) > 0 && !slices.Contains(names, "wharf") {
		return all, nil
	}
	mods, err := findModules()
	if err != nil {
		return nil, err
	}
	git, err := findGit()
	if err != nil {
		return nil, err
	}
	return append(all, recipe{
		name: "wharf", tags: []string{"localhost/wharf/self:1"}, env: append(slices.Clone(golang.env), "GOFLAGS=-buildvcs=false"),
		ingredients: append(slices.Clone(golang.ingredients), git.key, mods.key),
		layers:      append(slices.Clone(golang.layers), git.fill, mods.fill),
	}), nil
}

// busybox is a static busybox of this machine.
type busybox struct {
	path, key string
	applets   []string
}

// findBusybox looks for a busybox that needs no library: it has to run alone.
func findBusybox() (busybox, error) {
	missing := errors.New("no static busybox here: apt-get install busybox-static")
	path, err := exec.LookPath("busybox")
	if err != nil {
		return busybox{}, missing
	}
	f, err := elf.Open(path)
	if err != nil {
		return busybox{}, err
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return busybox{}, fmt.Errorf("%s is not static: %w", path, missing)
	}
	info, err := os.Stat(path)
	if err != nil {
		return busybox{}, err
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return busybox{}, fmt.Errorf("%s --list: %w", path, err)
	}
	return busybox{path, fmt.Sprint(info.Size(), info.ModTime().Unix()), strings.Fields(string(list))}, nil
}

func (b busybox) fill(l *layer) error {
	for _, d := range []string{"bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "usr/bin", "var"} {
		l.dir(d, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.dir("var/tmp", 0o1777)
	l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"))
	l.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	l.file("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	l.copyFile("bin/busybox", b.path)
	for _, a := range b.applets {
		if a != "busybox" {
			l.link("bin/"+a, "busybox")
		}
	}
	l.link("usr/bin/env", "../../bin/busybox")
	return nil
}

// helper is the program of the driver for Kubernetes that runs in pods, built from these sources.
type helper struct{ binary []byte }

func buildHelper() (helper, error) {
	dir, err := os.MkdirTemp("", "helper")
	if err != nil {
		return helper{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "helper")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, "github.com/wharfci/wharf/driver/kubernetes/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return helper{}, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	binary, err := os.ReadFile(file)
	return helper{binary}, err
}

func (h helper) key() string { return fmt.Sprintf("%x", sha256.Sum256(h.binary)) }

func (h helper) fill(l *layer) error {
	l.file("helper", 0o755, h.binary)
	return nil
}

// toolchain is the Go that runs this program.
type toolchain struct{ root, version string }

func findGo() (toolchain, error) {
	out, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return toolchain{}, fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		return toolchain{}, fmt.Errorf("go env: unexpected answer %q", out)
	}
	return toolchain{lines[0], strings.TrimPrefix(lines[1], "go")}, nil
}

// fill writes what a build needs of the toolchain, and the certificates for fetching modules.
func (t toolchain) fill(l *layer) error {
	l.dir("usr/local", 0o755)
	err := l.tree(goDir[1:], t.root, func(rel string, d fs.DirEntry) bool {
		return slices.Contains([]string{"api", "doc", "misc", "test"}, rel) || d.IsDir() && d.Name() == "testdata"
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(certificates); err == nil {
		l.dir("etc/ssl", 0o755)
		l.dir("etc/ssl/certs", 0o755)
		l.copyFile(certificates[1:], certificates)
	}
	l.dir("go", 0o777)
	return nil
}
