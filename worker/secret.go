package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wharfci/wharf/pipeline"
)

// envPath is where a step's container has the file with what must not be seen from outside.
const envPath = "/run/wharf/env"

// maxSecret bounds such a file; drivers take no more.
const maxSecret = 1 << 20

// projectSecret reads a project's secret from the installation's store.
func (c *Config) projectSecret(name string) (map[string]string, error) {
	if c.Secrets == "" {
		return nil, fmt.Errorf("secretName %q: no secret store is configured", name)
	}
	full := fmt.Sprintf("wharf-%s-project-%s-secretname-%s", c.Instance, c.ProjectID, name)
	if !filepath.IsLocal(full) || strings.ContainsAny(full, `/\`) {
		return nil, fmt.Errorf("secretName %q: must not hold a slash", name)
	}
	path := filepath.Join(c.Secrets, full)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secretName %q: the secret store has no %s", name, path)
	}
	if err != nil {
		return nil, fmt.Errorf("secretName %q: %w", name, err)
	}
	read := readSecretFile
	if info.IsDir() {
		read = readSecretDir
	}
	env, err := read(path)
	if err == nil {
		err = validSecret(env)
	}
	if err != nil {
		return nil, fmt.Errorf("secretName %q: %w", name, err)
	}
	return env, nil
}

// readSecretDir reads one file a key. Names that begin with a dot are no keys.
func readSecretDir(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		value, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		env[e.Name()] = string(value)
	}
	return env, nil
}

// readSecretFile reads lines of KEY=value; empty ones and those that begin with "#" say nothing.
func readSecretFile(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	n := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%s: line %d is not KEY=value", path, n)
		}
		env[key] = value
	}
	return env, nil
}

func validSecret(env map[string]string) error {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if !identifier(key) {
			return fmt.Errorf("key %q cannot be an environment variable: only letters, digits and underscores", key)
		}
		if strings.ContainsRune(env[key], 0) {
			return fmt.Errorf("key %q cannot be an environment variable: its value holds a NUL byte", key)
		}
		size += len(env[key])
	}
	if size > maxSecret/2 {
		return fmt.Errorf("its values have %d bytes, more than %d", size, maxSecret/2)
	}
	return nil
}

// identifier reports whether a shell can export a variable of that name.
func identifier(name string) bool {
	for i, r := range []byte(name) {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// envFile returns what /bin/sh reads before the step's own shell runs: the project's secret, variables whose values hold
// secrets, and the script if it does. It is nil if the step has no secrets.
func (b *Build) envFile(s *pipeline.Step) []byte {
	c := s.Container
	var file []byte
	export := func(env map[string]string, secret func(string) bool) {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if secret(env[name]) {
				file = append(file, "export "+name+"="+quote(env[name])+"\n"...)
			}
		}
	}
	export(b.secrets[s.ID], func(string) bool { return true })
	export(c.Env, b.holdsSecret)
	if b.holdsSecret(c.Script) {
		file = append(file, scriptVar+"="+quote(c.Script)+"\n"...)
	}
	return file
}

// quote makes one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// numericUser splits "uid" or "uid:gid"; without a group the group is root's, as runtimes have it for users that the image does not know.
func numericUser(user string) (uid, gid int, ok bool) {
	u, g, grouped := strings.Cut(user, ":")
	uid, err := strconv.Atoi(u)
	if err != nil || uid < 0 {
		return 0, 0, false
	}
	if !grouped {
		return uid, 0, true
	}
	gid, err = strconv.Atoi(g)
	return uid, gid, err == nil && gid >= 0
}
