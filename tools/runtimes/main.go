// Runtimes writes the tables of what each runtime can do, in docs/runtimes.md and in the README, from docs/runtimes/*.json.
//
// These files are the checked-in truth: the tests of each driver compare its file with what the driver claims on a real runtime
// (drivertest.Documented), so that writing the tables needs no runtime.
package main

//go:generate go run .

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

const top = "../.."

// words say what an ability is, in the order in which the table has them.
var words = [][2]string{
	{"Init", "init containers"}, {"Services", "services"}, {"Secrets", "secrets as files that nobody else sees"},
	{"Exec", "commands in a running task"}, {"Dial", "connections to a task's ports"}, {"Events", "changes of state as they happen"},
	{"Pull", "pulling ahead, with progress"}, {"Stats", "use of processor and memory"}, {"Sandboxes", "networks made ahead of tasks"},
	{"NetworkOwn", "a network of the task's own"}, {"NetworkNone", "no network"}, {"DNS", "name servers"}, {"Hosts", "further host names"},
	{"Hostname", "the host name"}, {"CPULimit", "limit of processor time"}, {"MemoryLimit", "limit of memory"}, {"PIDLimit", "limit of processes"},
	{"VolumeSubPath", "a directory of a volume as a mount"}, {"VolumeSize", "limit of a volume's size"}, {"VolumeUsage", "how much is in a volume"},
	{"Platforms", "images of other platforms"}, {"Placement", "choice of the node"}, {"Privileged", "privileged containers"},
	{"HostNetwork", "the host's network"}, {"HostPaths", "directories of the host"}, {"AddCapabilities", "further capabilities of Linux"},
	{"NewPrivileges", "set-uid programs"},
}

// order is that of the columns; others follow by name.
var order = []string{"docker", "podman", "containerd", "kubernetes"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "runtimes:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := complete(); err != nil {
		return err
	}
	all, err := read()
	if err != nil {
		return err
	}
	if err := replace("docs/runtimes.md", abilities(all)); err != nil {
		return err
	}
	return replace("README.md", versions(all))
}

// complete checks that no ability lacks words.
func complete() error {
	t := reflect.TypeFor[driver.Capabilities]()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() == reflect.Bool && !slices.ContainsFunc(words, func(w [2]string) bool { return w[0] == f.Name }) {
			return fmt.Errorf("the ability %s has no words: add them to the table", f.Name)
		}
	}
	return nil
}

func read() ([]drivertest.Document, error) {
	files, err := filepath.Glob(filepath.Join(top, "docs", "runtimes", "*.json"))
	if err != nil {
		return nil, err
	}
	place := func(file string) int {
		if i := slices.Index(order, strings.TrimSuffix(filepath.Base(file), ".json")); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(files, func(a, b string) int { return place(a) - place(b) })
	var all []drivertest.Document
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var d drivertest.Document
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// abilities is a line for each ability, a column for each runtime.
func abilities(all []drivertest.Document) string {
	var b strings.Builder
	b.WriteString("| ability | in `Capabilities` |")
	rule := "|---|---|"
	for _, d := range all {
		b.WriteString(" " + d.Name + " |")
		rule += "---|"
	}
	b.WriteString("\n" + rule + "\n")
	for _, w := range words {
		fmt.Fprintf(&b, "| %s | `%s` |", w[1], w[0])
		for _, d := range all {
			fmt.Fprintf(&b, " %s |", d.Abilities[w[0]])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func versions(all []drivertest.Document) string {
	var b strings.Builder
	b.WriteString("| runtime | reached by | versions tested |\n|---|---|---|\n")
	for _, d := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, d.Reached, d.Versions)
	}
	return b.String()
}

// The marks between which a table stands.
const (
	begin = "<!-- begin of a table that go generate ./tools/runtimes writes -->\n"
	end   = "<!-- end of the table -->\n"
)

// replace writes the table into a document, if it is another one than before.
func replace(name, table string) error {
	file := filepath.Join(top, name)
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no marks for the table", name)
	}
	if text := before + begin + table + end + after; text != string(data) {
		return os.WriteFile(file, []byte(text), 0o644)
	}
	return nil
}
