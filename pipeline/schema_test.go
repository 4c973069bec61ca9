package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func TestSchema_upToDate(t *testing.T) {
	got, err := json.MarshalIndent(makeSchema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", string(got)+"\n")
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// schemaAccepts tells what an editor would say: the file is YAML and fits the schema.
func schemaAccepts(t *testing.T, s *jsonschema.Schema, src string) error {
	t.Helper()
	var v any
	if err := yaml.Load([]byte(src), &v); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	v, err = jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// containerWith returns a definition with more keys in its container step.
func containerWith(keys string) string {
	return "s:\n  a:\n    container: {image: i, cmds: [c], " + keys + "}\n"
}

// stepWith returns a definition with a step.
func stepWith(step string) string { return "s:\n  a: " + step + "\n" }

func TestSchema_agreesWithParser(t *testing.T) {
	schema := compileSchema(t)
	for _, src := range []string{
		step1, complete, variablesDefinition,
		containerWith("timeout: 1h30m, retry: 3"),
		containerWith("timeout: '${t}', retry: '${r}', user: 0, os: '${os}'"),
		containerWith("retry: {count: 1, on: [failure]}"),
		containerWith("env: {A: 1, B: true, C: x, D: ''}, shell: ''"),
		containerWith("resources: {cpu: 2, memory: 1024}"),
		containerWith("resources: {cpu: 100m, memory: 1.5Gi, limits: {cpu: '${c}'}}"),
		containerWith("services: {db: {image: i, ready: {tcp: '${port}'}}}"),
		containerWith("matrix: {a: [1, x, true]}"),
		stepWith("{docker: {file: f, tag: t, args: ['${arg}', A=b, A=], push: no, append-cert: '${c}'}}"),
		stepWith("{kubectl: {files: [a, b], file: c}}"),
		stepWith("{helm: {chart: c, name: n, namespace: 1, set: {a.b: true}}}"),
		stepWith("{helm-package: {}}"),
		stepWith("{nuget-package: {version: 1, project-path: p, repo: r}}"),
		"timeout: 1h\nconcurrency: 3\n" + step1,
		"timeout:\n  a:\n    container: {image: i, cmds: [c]}\n",
		"concurrency:\n  run-if: fail\n  a:\n    container: {image: i, cmds: [c]}\n",
		"inputs: []\nenvironments: {e: {}}\n" + step1,
		"inputs: [{name: a, type: choice, values: [1, 2], default: 1}]\n" + step1,
	} {
		if _, err := Parse("f", []byte(src)); err != nil {
			t.Errorf("the parser refuses\n%s\n%v", src, err)
		}
		if err := schemaAccepts(t, schema, src); err != nil {
			t.Errorf("the schema refuses\n%s\n%v", src, err)
		}
	}
	for _, src := range []string{
		"[]", "5", "x", "{}", "s: {}", "s: 5", "s: []", "s: {run-if: fail}", "s: {environments: [], run-if: fail}",
		"inputs: []\nenvironments: {}\n", "timeout: 1h", "timeout: 90\n" + step1, "timeout: '${t}'\n" + step1, "timeout: [1h]\n" + step1,
		"timeout: {}\n" + step1, "concurrency: 0\n" + step1, "concurrency: x\n" + step1,
		"inputs: {}\n" + step1, "inputs: [x]\n" + step1, "inputs: [{name: a}]\n" + step1, "inputs: [{type: string}]\n" + step1,
		"inputs: [{name: a, type: strin}]\n" + step1, "inputs: [{name: a, type: string, defualt: x}]\n" + step1,
		"inputs: [{name: a, type: choice, values: [a]}]\n" + step1, "inputs: [{name: a, type: choice, default: a}]\n" + step1,
		"inputs: [{name: a, type: choice, values: [], default: a}]\n" + step1, "inputs: [{name: 'a}', type: string}]\n" + step1,
		"environments: []\n" + step1, "environments: {e: x}\n" + step1, "environments: {e: {a: []}}\n" + step1, "environments: {e: {' a': x}}\n" + step1,
		"s:\n  run-if: sometimes\n  a: {container: {image: i, cmds: [c]}}\n", "s:\n  run-if: ${x}\n  a: {container: {image: i, cmds: [c]}}\n",
		"s:\n  environments: e\n  a: {container: {image: i, cmds: [c]}}\n",
		stepWith("{}"), stepWith("x"), stepWith("[]"), stepWith("{contaner: {}}"), stepWith("{image: i}"),
		stepWith("{container: {image: i, cmds: [c]}, docker: {file: f, tag: t}}"),
		stepWith("{container: {}}"), stepWith("{container: x}"), stepWith("{container: {image: i}}"), stepWith("{container: {cmds: [c]}}"),
		stepWith("{container: {image: '', cmds: [c]}}"), stepWith("{container: {image: [], cmds: [c]}}"),
		stepWith("{container: {image: i, cmds: []}}"), stepWith("{container: {image: i, cmds: c}}"), stepWith("{container: {image: i, cmds: [{a: b}]}}"),
		containerWith("imag: x"), containerWith("os: bsd"), containerWith("timeout: 90"), containerWith("timeout: soon"), containerWith("timeout: 1h30"),
		containerWith("retry: -1"), containerWith("retry: 11"), containerWith("retry: 1.5"), containerWith("retry: x"), containerWith("retry: {on: [failure]}"),
		containerWith("retry: {count: 1, on: []}"), containerWith("retry: {count: 1, on: [x]}"), containerWith("env: []"), containerWith("env: {A: []}"),
		containerWith("env: {A=B: x}"), containerWith("artifacts: x"), containerWith("cache: {path: p, key: k}"), containerWith("cache: [{path: p}]"),
		containerWith("cache: [{path: p, key: k, x: y}]"), containerWith("services: []"), containerWith("services: {A_B: {image: i}}"),
		containerWith("services: {db: {}}"), containerWith("services: {db: {image: i, ready: {}}}"),
		containerWith("services: {db: {image: i, ready: {tcp: 1, exec: [a]}}}"), containerWith("services: {db: {image: i, ready: {tcp: 0}}}"),
		containerWith("services: {db: {image: i, ready: {tcp: 65536}}}"), containerWith("services: {db: {image: i, ready: {exec: []}}}"),
		containerWith("resources: {cpu: -1}"), containerWith("resources: {cpu: 0}"), containerWith("resources: {cpu: 1Gi}"), containerWith("resources: {memory: 1m}"),
		containerWith("resources: {limits: {cpu: x}}"), containerWith("resources: {disk: 1}"), containerWith("needs: a"), containerWith("matrix: {}"),
		containerWith("matrix: []"), containerWith("matrix: {a: x}"), containerWith("matrix: {a: []}"), containerWith("matrix: {a: [[x]]}"), containerWith("matrix: {'a}': [x]}"),
		stepWith("{docker: {file: f}}"), stepWith("{docker: {tag: t}}"), stepWith("{docker: {file: f, tag: t, push: maybe}}"), stepWith("{docker: {file: f, tag: t, push: 1}}"),
		stepWith("{docker: {file: f, tag: t, args: {A: b}}}"), stepWith("{docker: {file: f, tag: t, args: [A]}}"), stepWith("{docker: {file: f, tag: t, args: ['=b']}}"),
		stepWith("{docker: {file: f, tag: t, needs: [a]}}"), stepWith("{helm: {chart: c, name: n}}"), stepWith("{helm: {chart: c, name: n, namespace: x, set: {a: {b: c}}}}"),
		stepWith("{kubectl: {}}"), stepWith("{kubectl: {files: []}}"), stepWith("{nuget-package: {version: 1, repo: r}}"), stepWith("{helm-package: {chart: x}}"),
	} {
		_, err := Parse("f", []byte(src))
		if _, ok := errors.AsType[Errors](err); !ok {
			t.Errorf("the parser takes\n%s", src)
		}
		if err := schemaAccepts(t, schema, src); err == nil {
			t.Errorf("the schema takes\n%s", src)
		}
	}
}

// Every place of the language says what it is for, so that editors can.
func TestSchema_describesEverything(t *testing.T) {
	var walk func(path string, s *shape)
	walk = func(path string, s *shape) {
		for _, f := range s.fields {
			if f.shape.desc == "" {
				t.Errorf("%s.%s has no description", path, f.name)
			}
			walk(path+"."+f.name, f.shape)
		}
		if s.elem != nil {
			walk(path+"[]", s.elem)
		}
	}
	for _, s := range []*shape{stepShape, inputsShape, environmentsShape} {
		walk("", s)
	}
}

func TestSchema_errorFiles(t *testing.T) {
	schema := compileSchema(t)
	files, _ := filepath.Glob("testdata/errors/*.yml")
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schemaAccepts(t, schema, string(src)); err == nil {
			t.Errorf("the schema takes %s", file)
		}
	}
}
