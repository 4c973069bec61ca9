package provisioner

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/wharfci/wharf/driver"
)

// store is where a worker finds its project's secrets.
const store = secrets + "/secrets"

// storable is what the parts of a secret's path may be called.
var storable = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// projectSecrets reads what Config.Secrets has for the project of a trigger, and for no other, as files for the worker's container. What cannot be read is left out: a build that
// needs it will say so.
func (p *Provisioner) projectSecrets(t *Trigger) []driver.Secret {
	if p.cfg.Secrets == "" {
		return nil
	}
	id := ""
	if t.ProjectID != 0 {
		id = strconv.FormatUint(t.ProjectID, 10)
	}
	const mark = "-secretname-"
	prefix := "wharf-" + t.Instance + "-project-" + id + mark
	entries, err := os.ReadDir(p.cfg.Secrets)
	if err != nil {
		p.log.Warn("the project secrets cannot be read", "error", err)
	}
	var all []driver.Secret
	for _, e := range entries {
		name, found := strings.CutPrefix(e.Name(), prefix)
		if !found || strings.Contains(name, mark) { // of an instance whose name goes on so
			continue
		}
		files, err := readSecret(p.cfg.Secrets, e.Name())
		if err != nil {
			p.log.Warn("a project secret is not given to the worker", "secret", e.Name(), "error", err)
			continue
		}
		all = append(all, files...)
	}
	return all
}

// readSecret reads one secret: a file, or a directory with a file for each key.
func readSecret(dir, name string) ([]driver.Secret, error) {
	from := filepath.Join(dir, name)
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		s, err := secretFile(from, name)
		return []driver.Secret{s}, err
	}
	keys, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	var all []driver.Secret
	for _, k := range keys {
		if strings.HasPrefix(k.Name(), ".") { // is no key
			continue
		}
		s, err := secretFile(filepath.Join(from, k.Name()), name, k.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func secretFile(from string, names ...string) (driver.Secret, error) {
	for _, name := range names {
		if !storable.MatchString(name) {
			return driver.Secret{}, fmt.Errorf("%q: its name may have letters, digits, hyphens, underscores and dots only", name)
		}
	}
	value, err := os.ReadFile(from)
	return driver.Secret{Name: path.Join(names...), Path: path.Join(append([]string{store}, names...)...), Value: value, Containers: []string{driver.MainContainer}}, err
}
