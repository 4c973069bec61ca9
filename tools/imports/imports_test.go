package imports

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wharfci/wharf"

// pkg is a package as go list prints it.
type pkg struct {
	ImportPath, Name string
	Standard         bool
	Imports, Deps    []string
}

// rel is the package's path inside our module, or empty for a package from elsewhere.
func rel(importPath string) string {
	if importPath == module {
		return "."
	}
	after, found := strings.CutPrefix(importPath, module+"/")
	if !found {
		return ""
	}
	return after
}

// list returns all packages that our packages depend on, and our own, by import path. Imports of tests are not counted.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Standard,Imports,Deps", module+"/...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
	return packages
}

// within reports whether the path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// layers say what of ours each part of the tree may import, beside itself. A part that is not named may import nothing
// of ours, and a new one has to be added here.
var layers = map[string][]string{
	"api":         {},
	"driver":      {},
	"pipeline":    {},
	"worker":      {"api", "pipeline", "driver"},
	"provisioner": {"api", "driver", "worker/mask"},
	"aggregator":  {"api", "driver", "provisioner", "worker"},
	"cmd":         {"api", "aggregator", "provisioner", "worker", "pipeline", "driver"},
	"examples":    {"worker", "pipeline", "driver"},
	"tools":       {"driver"},
	"bench":       {"worker", "pipeline", "driver"},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t) {
		from := rel(p.ImportPath)
		if from == "" || from == "." {
			continue
		}
		part, _, _ := strings.Cut(from, "/")
		allowed, known := layers[part]
		if !known {
			t.Errorf("%s: a new part of the tree; say in tools/imports what it may import", from)
		}
		for _, imp := range p.Imports {
			to := rel(imp)
			if to == "" || within(to, part) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return within(to, a) }) {
				t.Errorf("%s imports %s: imports point one way, from cmd to worker to pipeline and driver", from, to)
			}
		}
	}
}

// TestDriverIsLight keeps the contract free of everything that its implementers would have to link.
func TestDriverIsLight(t *testing.T) {
	packages := list(t)
	for _, dep := range packages[module+"/driver"].Deps {
		if !packages[dep].Standard && !strings.HasPrefix(dep, "vendor/") && dep != "github.com/containerd/errdefs" {
			t.Errorf("driver depends on %s: only the standard library and github.com/containerd/errdefs are allowed", dep)
		}
	}
	for _, name := range []string{"driver", "pipeline"} {
		for _, dep := range packages[module+"/"+name].Deps {
			if d := rel(dep); d != "" && !within(d, name) {
				t.Errorf("%s depends on %s: it must import nothing else of ours", name, d)
			}
		}
	}
}

// TestProvisionerParts keeps what both ends of a container use free of what only one of them has: the clone runs in a small image, and what
// is a URL or a report must not depend on how a worker is started.
func TestProvisionerParts(t *testing.T) {
	packages := list(t)
	for name, allowed := range map[string][]string{
		"provisioner/giturl": nil,
		"provisioner/report": nil,
		"provisioner/clone":  {"provisioner/giturl", "worker/mask", "github.com/agext/levenshtein"},
	} {
		for _, dep := range packages[module+"/"+name].Deps {
			short := dep
			if d := rel(dep); d != "" {
				short = d
			}
			if !packages[dep].Standard && !strings.HasPrefix(dep, "vendor/") && !slices.Contains(allowed, short) {
				t.Errorf("%s depends on %s: beside the standard library only %v are allowed", name, short, allowed)
			}
		}
	}
}

// clients are what the drivers may link, each its own, by driver package. What reads Docker's file of credentials (github.com/docker/cli/cli/config), which
// registries' clients use, is no client of Docker.
var clients = map[string][]string{
	"driver/docker":     {"github.com/moby/moby", "github.com/docker/docker", "github.com/docker/go-connections"},
	"driver/podman":     {"go.podman.io", "github.com/containers/podman", module + "/driver/podman"}, // which is its own client
	"driver/containerd": {"github.com/containerd/containerd", "github.com/containerd/go-cni"},
	"driver/kubernetes": {"k8s.io", "sigs.k8s.io"},
}

// runtimes returns the drivers whose clients the package links.
func runtimes(packages map[string]pkg, importPath string) []string {
	var found []string
	for driver, prefixes := range clients {
		if slices.ContainsFunc(packages[importPath].Deps, func(dep string) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return within(dep, p) })
		}) {
			found = append(found, driver)
		}
	}
	slices.Sort(found)
	return found
}

// belongsTo returns the driver that the package is a part of, or "".
func belongsTo(from string) string {
	for driver := range clients {
		if within(from, driver) {
			return driver
		}
	}
	return ""
}

// TestDriversStandAlone: a driver imports the contract, what drivers share, and its runtime's client, and nothing else of ours; what
// is not a driver, beside the commands and tools, links no client at all.
func TestDriversStandAlone(t *testing.T) {
	packages := list(t)
	for _, p := range packages {
		from := rel(p.ImportPath)
		_, isDriver := clients[from]
		switch {
		case isDriver:
			for _, imp := range p.Imports {
				if to := rel(imp); to != "" && to != "driver" && !within(to, "driver/internal") && !within(to, from) {
					t.Errorf("%s imports %s: a driver imports nothing of ours but driver and what drivers share in driver/internal", from, to)
				}
			}
			for _, other := range runtimes(packages, p.ImportPath) {
				if other != from {
					t.Errorf("%s links the client of %s", from, other)
				}
			}
		case belongsTo(from) == "" && (within(from, "driver") || within(from, "pipeline") || within(from, "worker") || within(from, "provisioner")):
			if linked := runtimes(packages, p.ImportPath); linked != nil {
				t.Errorf("%s links the client of %v: only a driver may", from, linked)
			}
		}
	}
}

// examples are the programs that show a driver each, by their directory in examples, and the driver that each may link. A new runtime
// is a line here, and a program in testdata/bare.
var examples = map[string]string{
	"docker":     "driver/docker",
	"podman":     "driver/podman",
	"containerd": "driver/containerd",
	"kubernetes": "driver/kubernetes",
}

// TestExamplesLinkOneRuntime: a program that uses one driver must not carry the client of another.
func TestExamplesLinkOneRuntime(t *testing.T) {
	packages := list(t)
	for dir, own := range examples {
		path := module + "/examples/" + dir
		if packages[path].Name != "main" {
			t.Errorf("there is no program examples/%s", dir)
		}
		if linked := runtimes(packages, path); !slices.Equal(linked, []string{own}) {
			t.Errorf("examples/%s links the clients of %v; want that of %s alone", dir, linked, own)
		}
	}
	for _, p := range packages {
		if dir, is := strings.CutPrefix(rel(p.ImportPath), "examples/"); is && p.Name == "main" && examples[dir] == "" {
			t.Errorf("examples/%s is not in the table of examples", dir)
		}
	}
}
