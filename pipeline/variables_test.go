package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const variablesDefinition = `
inputs:
  - {name: who, type: string, default: "${greeting} ${REPO_NAME}"}
  - {name: greeting, type: string, default: hello}
  - {name: token, type: password, default: pa55}
  - {name: count, type: number, default: "3"}
environments:
  prod:
    REG_URL: ${REG_URL}/prod
    namespace: ${who} in ${region}
    region: eu
    login: user:${token}
    greeting: hi
s:
  a:
    container: {image: i, cmds: ["${namespace} ${greeting} ${count}"]}
`

func variablesOptions() Options {
	return Options{
		Environment: "prod",
		Vars:        map[string]string{"REPO_NAME": "given"},
		Layers: []Layer{
			ProcessLayer([]string{"WHARF_VAR_REG_URL=process", "WHARF_VAR_PROJECT_ID=7", "WHARF_VAR_=x", "HOME=/"}),
			{Source: Source{FromFile, "/a/.wharf-vars.yml"}, Values: map[string]string{"REG_URL": "near", "CHART_REPO": "charts"}},
			{Source: Source{FromFile, "/.wharf-vars.yml"}, Values: map[string]string{"REG_URL": "far"}},
			GitLayer(map[string]string{"REPO_NAME": "git", "GIT_COMMIT_SUBJECT": "steal ${token}"}),
		},
	}
}

func TestDefinition_Variables(t *testing.T) {
	vars, err := mustParse(t, variablesDefinition).Variables(variablesOptions())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "%s = %q from %s %s", v.Name, v.Value, v.Source.Origin, v.Source.Detail)
		if v.Secret {
			b.WriteString(" secret")
		}
		b.WriteString("\n")
		for _, s := range v.Shadows {
			fmt.Fprintf(&b, "    shadows %q from %s %s\n", s.Value, s.Source.Origin, s.Source.Detail)
		}
	}
	golden(t, "testdata/variables.golden", b.String())
}

func TestPlan_variables(t *testing.T) {
	p := mustPlan(t, variablesDefinition, variablesOptions())
	// The input's default sees the input greeting, not the environment's; the step sees the environment's.
	equal(t, "hello given in eu hi 3", p.Stages[0].Steps[0].Container.Script)
	equal(t, []string{"pa55"}, p.Secrets)
	equal(t, Errors(nil), p.Warnings)
}

// What comes from outside can hold anything and is not looked at again.
func TestPlan_outsideIsLiteral(t *testing.T) {
	const evil = "${token} ${%x%} ${} $(rm -rf /)"
	p := mustPlan(t, `
inputs: [{name: token, type: password, default: s}, {name: given, type: string}]
environments: {e: {v: "<${GIT_COMMIT_SUBJECT}>"}}
s:
  a:
    container: {image: "${v}", cmds: ["${given}"], env: {A: "${FILE}", B: "${OPT}"}}
`, Options{
		Environment: "e", Inputs: map[string]string{"given": evil}, Vars: map[string]string{"OPT": evil},
		Layers: []Layer{{Values: map[string]string{"FILE": evil}}, GitLayer(map[string]string{"GIT_COMMIT_SUBJECT": evil})},
	})
	c := p.Stages[0].Steps[0].Container
	equal(t, []string{"<" + evil + ">", evil, evil, evil}, []string{c.Image, c.Script, c.Env["A"], c.Env["B"]})
}

func TestDefinition_Expand(t *testing.T) {
	d := mustParse(t, variablesDefinition)
	out, warnings, err := d.Expand(variablesOptions(), "x.txt", "a ${region}\n  b ${nope} ${%region%}\n")
	if err != nil || out != "a eu\n  b ${nope} ${region}\n" {
		t.Errorf("got %q, %v", out, err)
	}
	equal(t, "x.txt:2:5: the variable \"nope\" is not defined\n    b ${nope} ${%region%}\n      ^", warnings.Error())
	opts := variablesOptions()
	opts.Strict = true
	if _, _, err := d.Expand(opts, "x.txt", "${nope}"); err == nil {
		t.Error("no error although strict")
	}
	// Without a definition there are still the variables from outside.
	out, _, err = new(Definition).Expand(Options{Vars: map[string]string{"x": "y"}}, "-", "${x}")
	if err != nil || out != "y" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestDefinition_Render(t *testing.T) {
	d := mustParse(t, complete)
	out, err := d.Render(completeOptions)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/rendered.golden.yml", string(out))
	if _, err := Parse("rendered", out); err != nil {
		t.Errorf("the rendered definition is wrong: %v", err)
	}
	d = mustParse(t, variablesDefinition)
	if out, err := d.Render(variablesOptions()); err != nil || strings.Contains(string(out), "pa55") {
		t.Errorf("the secret is there, or error %v:\n%s", err, out)
	}
}

func TestReadVarFiles(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/.wharf-vars.yml", "vars: {X: near, N: 1.10, B: true}\n")
	write("a/.wharf-vars.yml", "vars: {X: middle, Y: '${X}'}\n")
	write(".wharf-vars.yml", "vars:\n")
	write("config/wharf/wharf-vars.yml", "vars: {X: far, Z: config}\n")
	env := map[string]string{"XDG_CONFIG_HOME": filepath.Join(root, "config"), "HOME": filepath.Join(root, "home")}
	layers, err := ReadVarFiles(filepath.Join(root, "a", "b"), func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	vars, err := new(Definition).Variables(Options{Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range vars {
		rel, _ := filepath.Rel(root, v.Source.Detail)
		got = append(got, fmt.Sprintf("%s=%s %s %d", v.Name, v.Value, rel, len(v.Shadows)))
	}
	equal(t, []string{
		"B=true a/b/.wharf-vars.yml 0", "N=1.10 a/b/.wharf-vars.yml 0", "X=near a/b/.wharf-vars.yml 2",
		"Y=${X} a/.wharf-vars.yml 0", "Z=config config/wharf/wharf-vars.yml 0",
	}, got)

	write("a/b/.wharf-vars.yml", "vers: {X: [1]}\nvars: {Y: {}}\n")
	write("a/.wharf-vars.yml", "- x\n")
	_, err = ReadVarFiles(filepath.Join(root, "a", "b"), func(string) string { return "" })
	if errs, ok := err.(Errors); !ok || len(errs) != 3 || errs[0].Hint != `did you mean "vars"?` {
		t.Errorf("error %v, want three problems", err)
	}
}

func TestVarFiles(t *testing.T) {
	env := map[string]string{"HOME": "/home/me"}
	getenv := func(k string) string { return env[k] }
	equal(t, []string{"/src/web/.wharf-vars.yml", "/src/.wharf-vars.yml", "/.wharf-vars.yml", "/home/me/.config/wharf/wharf-vars.yml", "/etc/wharf/wharf-vars.yml"}, VarFiles("/src/web", getenv))
	env["XDG_CONFIG_HOME"] = "/cfg"
	equal(t, []string{"/.wharf-vars.yml", "/cfg/wharf/wharf-vars.yml", "/etc/wharf/wharf-vars.yml"}, VarFiles("/", getenv))
	equal(t, []string{"/.wharf-vars.yml", "/etc/wharf/wharf-vars.yml"}, VarFiles("/", func(string) string { return "" }))
}

func TestOutline(t *testing.T) {
	want := Names{Stages: []string{"build", "publish", "deploy", "report"}, Environments: []string{"stage"}, Inputs: []string{"who", "token", "count", "tier"}}
	equal(t, want, Outline([]byte(complete)))
	want.Stages = append(want.Stages, "more")
	equal(t, want, Outline([]byte(complete+"more: [\n\tx\n"))) // no YAML
	equal(t, Names{}, Outline(nil))
}

func TestStepID(t *testing.T) {
	seen := map[string]string{}
	for _, names := range [][2]string{
		{"build", "web"}, {"a-b", "c"}, {"a", "b-c"}, {"a--b", "c"}, {"a", "b--c"}, {"Build", "web"}, {"build", "WEB"}, {"", ""}, {"-", "-"},
		{"bäuild", "日本"}, {strings.Repeat("a", 100), "x"}, {strings.Repeat("a", 101), "x"}, {"build", "web (1, 2)"}, {"build", "web-1-2"}, {"../..", "/etc"},
	} {
		id := stepID(names[0], names[1])
		if other, ok := seen[id]; ok || len(id) > maxID || !dnsLabelRegex.MatchString(id) {
			t.Errorf("%q has the ID %q (also of %q)", names, id, other)
		}
		seen[id] = fmt.Sprint(names)
	}
	equal(t, "build--web", stepID("build", "web"))
}

func TestDefinition_Render_masked(t *testing.T) {
	d := mustParse(t, "inputs:\n  - {name: pin, type: password}\n  - {name: n, type: number, default: '${pin}'}\n"+
		"  - {name: c, type: choice, values: [1234, 1], default: '${pin}'}\n"+step1)
	opts := Options{Inputs: map[string]string{"pin": "1234"}}
	if _, err := d.Plan(opts); err != nil {
		t.Fatal(err)
	}
	out, err := d.Render(opts)
	if err != nil || strings.Count(string(out), masked) != 2 {
		t.Errorf("error %v, output\n%s", err, out)
	}
}
