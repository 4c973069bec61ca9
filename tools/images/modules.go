package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules are the modules of go.mod in the working directory.
type modules struct {
	key  string
	mods []module
}

type module struct{ Dir, GoMod, Info, Error string }

func findModules() (modules, error) {
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return modules{}, fmt.Errorf("%w (run this at the top of the repository)", err)
	}
	out, failed := exec.Command("go", "mod", "download", "-json").Output()
	m := modules{key: string(sums)}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var mod module
		if err := dec.Decode(&mod); err != nil {
			return modules{}, err
		}
		if mod.Error != "" {
			return modules{}, fmt.Errorf("go mod download: %s", mod.Error)
		}
		m.mods = append(m.mods, mod)
	}
	return m, failed
}

// fill writes the module cache: each module unpacked, and what proves it to be the right one.
func (m modules) fill(l *layer) error {
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return err
	}
	cache := strings.TrimSpace(string(out))
	w := moduleWriter{layer: l, cache: cache, seen: map[string]bool{}}
	for _, mod := range m.mods {
		hash := strings.TrimSuffix(mod.GoMod, ".mod") + ".ziphash"
		for _, file := range []string{mod.GoMod, mod.Info, hash} {
			if err := w.copy(file); err != nil {
				return err
			}
		}
		if err := w.copy(mod.Dir); err != nil {
			return err
		}
	}
	return nil
}

// moduleWriter copies parts of the module cache, each directory on the way once.
type moduleWriter struct {
	*layer
	cache string
	seen  map[string]bool
}

func (w moduleWriter) copy(path string) error {
	rel, err := filepath.Rel(w.cache, path)
	if err != nil {
		return err
	}
	name := filepath.Join(moduleDir[1:], rel)
	w.parents(filepath.Dir(name), w.seen)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		w.copyFile(name, path)
		return w.err
	}
	return w.tree(name, path, nil)
}
