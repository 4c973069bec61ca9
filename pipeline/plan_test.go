package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// mustParse parses a definition that is correct.
func mustParse(t testing.TB, src string) *Definition {
	t.Helper()
	d, err := Parse(".wharf-ci.yml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// mustPlan plans a definition that is correct.
func mustPlan(t testing.TB, src string, opts Options) *Plan {
	t.Helper()
	p, err := mustParse(t, src).Plan(opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
}

// complete uses every key of the language.
const complete = `
timeout: 1h
concurrency: 4
inputs:
  - {name: who, type: string, default: world}
  - {name: token, type: password, default: s3cret}
  - {name: count, type: number, default: 2}
  - {name: tier, type: choice, values: [free, paid], default: free}
environments:
  stage: {ns: stage, replicas: 1, debug: true, ratio: 1.50, url: "https://${ns}.${DEFAULT_DOMAIN}"}
build:
  unit:
    container:
      image: golang:${go}
      cmds: ["echo ${who}", "echo ${HOME} ${%who%}", "go test ./..."]
      env: {TIER: "${tier}", COUNT: "${count}", DEBUG: on}
      shell: /bin/bash
      os: linux
      secretName: mysecret
      serviceAccount: builder
      certificatesMountPath: /certs
      user: 1000:1000
      timeout: 90s
      retry: {count: "${count}", on: [infrastructure, failure]}
      artifacts: ["out/**/*.trx"]
      cache: [{path: /go/pkg/mod, key: "go-${go}"}]
      resources: {cpu: 0.5, memory: 512Mi, limits: {memory: 1Gi}}
      services:
        db: {image: postgres, env: {PGUSER: x}, ready: {tcp: 5432}, timeout: 30s}
        web: {image: nginx, cmds: [a, b], ready: {exec: [curl, localhost]}}
      matrix: {go: [1.25, "1.26"], race: [true]}
  lint:
    container: {image: lint, cmds: [lint], needs: [unit], retry: 1}
  win:
    container: {image: core, os: windows, cmds: [dir]}
publish:
  environments: [stage]
  image:
    docker: {file: Dockerfile, tag: "latest,${GIT_TAG}", args: [A=b], secretName: s, secretArgs: [X=y]}
  chart:
    helm-package: {version: 1.10, chart-path: charts/web}
  nuget:
    nuget-package: {version: 1.0, project-path: src, repo: "https://nuget", skip-duplicate: true, certificatesMountPath: /c}
deploy:
  run-if: always
  web:
    helm:
      chart: web
      name: web-${ns}
      namespace: ${ns}
      set: {replicas: "${replicas}", debug: "${debug}", ratio: "${ratio}", url: "${url}", plain: 3}
      files: [values.yml]
      helmVersion: v3
  apply:
    kubectl: {file: a.yml, files: [k8s], namespace: "${ns}", force: true}
report:
  run-if: fail
  mail:
    container: {image: mail, cmds: [mail]}
`

var completeOptions = Options{
	Environment: "stage",
	Inputs:      map[string]string{"who": "${token}", "tier": "paid"},
	Layers: []Layer{
		ProcessLayer([]string{"WHARF_VAR_REG_URL=reg.example.com", "WHARF_VAR_ns=shadowed", "OTHER=x"}),
		{Source: Source{FromFile, "/x/.wharf-vars.yml"}, Values: map[string]string{"DEFAULT_DOMAIN": "example.com", "CHART_REPO": "https://charts", "REG_URL": "no"}},
		GitLayer(map[string]string{"REPO_NAME": "web", "REPO_GROUP": "Default-team", "GIT_TAG": ""}),
	},
	Files: fstest.MapFS{
		"values.yml":  {Data: []byte("ns: ${ns}\nraw: ${%ns%}\n")},
		"a.yml":       {Data: []byte("a: ${unknown}\n")},
		"k8s/b.yaml":  {Data: []byte("b: ${replicas}")},
		"k8s/c.json":  {Data: []byte("{}")},
		"k8s/read.me": {Data: []byte("no")},
	},
}

func TestPlan_complete(t *testing.T) {
	p := mustPlan(t, complete, completeOptions)
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/complete.golden.json", string(data)+"\n")
	var back Plan
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	equal(t, p, &back)
}

func TestPlan_scripts(t *testing.T) {
	p := mustPlan(t, complete, completeOptions)
	equal(t, []string{"/bin/bash", "-c", "echo ${token}\necho ${HOME} ${who}\ngo test ./..."}, p.Stages[0].Steps[0].Container.Args())
	equal(t, []string{"powershell.exe", "-C", "dir"}, p.Step("build--win").Container.Args())
	equal(t, []string{"/bin/sh", "-c", "a\nb"}, p.Stages[0].Steps[0].Services[1].Args())
	equal(t, []string(nil), p.Stages[0].Steps[0].Services[0].Args())
	equal(t, []string{"reg.example.com/Default-team/web/image:latest"}, p.Step("publish--image").Docker.Images())
}

func TestPlan_skip(t *testing.T) {
	p := mustPlan(t, complete, Options{Stages: []string{"report", "publish"}})
	var got []string
	for _, s := range p.Stages {
		got = append(got, s.Name+": "+s.Skip)
	}
	equal(t, []string{
		"build: not selected",
		`publish: the build has no environment, and the stage runs only in "stage"`,
		"deploy: not selected",
		"report: ",
	}, got)
	equal(t, []Step{{ID: "deploy--web", Name: "web", Type: TypeHelm, Line: 46}, {ID: "deploy--apply", Name: "apply", Type: TypeKubectl, Line: 54}}, p.Stages[2].Steps)
}

func TestPlan_docker(t *testing.T) {
	vars := map[string]string{"REG_URL": "reg", "REPO_GROUP": "grp", "REPO_NAME": "repo"}
	tests := []struct {
		name, step, keys string
		vars             map[string]string
		destination      string
		secret           string
		cert             bool
		warnings         int
	}{
		{"defaults", "web", "", vars, "reg/grp/repo/web", "gitlab-registry", false, 0},
		{"step named like the repository", "repo", "", vars, "reg/grp/repo", "gitlab-registry", false, 0},
		{"name like the repository", "web", "name: repo", vars, "reg/grp/repo", "gitlab-registry", false, 0},
		{"parts", "web", "registry: r, group: g, name: n", vars, "r/g/repo/n", "gitlab-registry", false, 0},
		{"destination", "web", "destination: x/y, registry: r", nil, "x/y", "gitlab-registry", false, 0},
		{"default group", "web", "group: DEFAULTs", vars, "reg/DEFAULTs/repo/web", "gitlab-registry", true, 0},
		{"default group, no", "web", "group: default, append-cert: no", vars, "reg/default/repo/web", "gitlab-registry", false, 0},
		{"append", "web", "append-cert: true, destination: x", nil, "x", "gitlab-registry", true, 0},
		{"secret", "web", "destination: x, secret: mine", nil, "x", "mine", false, 0},
		{"secret of the installation", "web", "destination: x", map[string]string{"REG_SECRET": "theirs"}, "x", "theirs", false, 0},
		{"nothing known", "web", "", nil, "${REG_URL}/${REPO_GROUP}/${REPO_NAME}/web", "gitlab-registry", false, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := fmt.Sprintf("s:\n  %s:\n    docker: {file: Dockerfile, tag: t, %s}\n", tt.step, tt.keys)
			p := mustPlan(t, strings.Replace(src, ", }", "}", 1), Options{Vars: tt.vars})
			d := p.Stages[0].Steps[0].Docker
			if d.Destination != tt.destination || d.Secret != tt.secret || d.AppendCert != tt.cert || len(p.Warnings) != tt.warnings {
				t.Errorf("got %+v with %d warnings, want %+v", d, len(p.Warnings), tt)
			}
		})
	}
}

// Every key that is an extension elsewhere is an ordinary name where names stand.
func TestPlan_baseFilesKeepTheirMeaning(t *testing.T) {
	names := []string{"timeout", "concurrency", "needs", "matrix", "retry", "services", "cache", "artifacts", "resources", "env", "user", "limits"}
	for _, name := range names {
		src := fmt.Sprintf("%[1]s:\n  %[1]s:\n    container: {image: i, cmds: [c]}\n", name)
		p := mustPlan(t, src, Options{})
		want := &Plan{File: ".wharf-ci.yml", Stages: []Stage{{Name: name, RunIf: RunIfSuccess, Steps: []Step{{
			ID: name + "--" + name, Name: name, Type: TypeContainer, Line: 2,
			Container: &Container{Image: "i", Script: "c", Shell: "/bin/sh", OS: "linux", ServiceAccount: "default"},
		}}}}}
		equal(t, want, p)
	}
	// The stages' own keys are steps' names nowhere, but may name stages.
	mustPlan(t, "run-if:\n  s:\n    container: {image: i, cmds: [c]}\n", Options{})
}

func TestPlan_errors(t *testing.T) {
	const step = "s:\n  a:\n    container: {image: i, cmds: [c]}\n"
	tests := []struct {
		name, src string
		opts      Options
		want      []string
	}{
		{"unknown environment", "environments: {stage: {}}\n" + step, Options{Environment: "stag"}, []string{`.wharf-ci.yml: there is no environment "stag"`, `did you mean "stage"?`}},
		{"unknown input", "inputs: [{name: who, type: string, default: x}]\n" + step, Options{Inputs: map[string]string{"wo": ""}}, []string{`there is no input "wo"`, `did you mean "who"?`}},
		{"unknown stage", step, Options{Stages: []string{"t"}}, []string{`there is no stage "t"`}},
		{"missing input", "inputs: [{name: who, type: string}]\n" + step, Options{}, []string{`:1:17: the input "who" has no default and was given no value`}},
		{"no number", "inputs: [{name: n, type: number, default: 1}]\n" + step, Options{Inputs: map[string]string{"n": "many"}}, []string{`the input "n" must be a number, but this is "many"`}},
		{"no choice", "inputs: [{name: n, type: choice, values: [a, b], default: a}]\n" + step, Options{Inputs: map[string]string{"n": "c"}}, []string{`the input "n" must be "a" or "b", but this is "c"`}},
		{"default does not fit", "inputs: [{name: n, type: number, default: '${x}'}]\n" + step, Options{Vars: map[string]string{"x": "no"}}, []string{`the default of the input "n" must be a number, but this is "no"`}},
		{"cycle", "environments: {e: {a: '${b}', b: '${c}', c: 'x${a}'}}\n" + step, Options{Environment: "e"}, []string{"variables need each other: a → b → c → a"}},
		{"cycle of one", "environments: {e: {a: '${a}'}}\n" + step, Options{Environment: "e"}, []string{"variables need each other: a → a"}},
		{"cycle of inputs", "inputs: [{name: a, type: string, default: '${b}'}, {name: b, type: string, default: '${a}'}]\n" + step, Options{}, []string{"a → b → a"}},
		{"bad value after substitution", "s:\n  a:\n    container: {image: '${x}', cmds: [c], timeout: '${x}y', os: '${os}', retry: '${x}'}\n", Options{Vars: map[string]string{"x": "", "os": "bsd"}},
			[]string{`"image" must not be empty`, `"timeout" must be a duration`, `"os" must be "linux" or "windows"`, `"retry" must be a whole number or a map`}},
		{"strict", "s:\n  a:\n    container:\n      image: i\n      cmds:\n        - echo ok\n        - |\n          echo ${x}\n          echo ${HOME}\n", Options{Strict: true, Vars: map[string]string{"x": ""}}, []string{`:9:16: the variable "HOME" is not defined`}},
		{"strict default", "s:\n  a:\n    docker: {file: f, tag: t}\n", Options{Strict: true}, []string{`"REG_URL" is not defined, but the default of "registry" needs it`}},
		{"missing file", "s:\n  a:\n    kubectl: {file: x.yml}\n", Options{Files: fstest.MapFS{}}, []string{`:3:21: the file "x.yml" cannot be read: file does not exist`}},
		{"binary file", "s:\n  a:\n    kubectl: {file: x}\n", Options{Files: fstest.MapFS{"x": {Data: []byte("\xff")}}}, []string{"no UTF-8 text"}},
		{"bad file", "s:\n  a:\n    kubectl: {file: x}\n", Options{Files: fstest.MapFS{"x": {Data: []byte("a\n b: ${}\n")}}}, []string{`x:2:5: "${}" has no name`}},
		{"empty directory", "s:\n  a:\n    kubectl: {file: .}\n", Options{Files: fstest.MapFS{"x": {}}}, []string{"no YAML or JSON file"}},
		{"file outside", "s:\n  a:\n    kubectl: {file: '${x}'}\n", Options{Vars: map[string]string{"x": "../../etc/passwd"}}, []string{"inside of the repository"}},
		{"matrix repeats", "s:\n  a:\n    container: {image: i, cmds: [c], matrix: {x: [1, '${y}']}}\n", Options{Vars: map[string]string{"y": "1"}}, []string{`the variable "x" has the value "1" twice`}},
		{"doubling", "environments:\n  e:\n    a: " + strings.Repeat("x", 1000) + "\n" + doubling(30) + step, Options{Environment: "e"}, []string{"more than 4 MiB"}},
		{"deep", "environments:\n  e:\n" + chain(1000) + step, Options{Environment: "e"}, []string{"more than 200 deep"}},
		{"too many steps", manyMatrices(50, ""), Options{}, []string{"more than 10000 steps"}},
		{"too many needs", manyMatrices(39, needsBefore), Options{}, []string{"need each other more than 100000 times"}},
		{"too many values", manyMatrices(30, manyVariables), Options{}, []string{"more than 2000000 keys and values"}},
		{"too much text in files", "s:\n  a:\n    kubectl: {files: [" + strings.Repeat("big, ", 30) + "]}\n", Options{Files: fstest.MapFS{"big": {Data: make([]byte, 3<<20)}}}, []string{"more than 64 MiB of text"}},
		{"too much text in one list", "environments:\n  e:\n    a: " + strings.Repeat("x", 1000) + "\n" + doubling(11) + "s:\n  a:\n    container: {image: i, cmds: [" + strings.Repeat(`"${v10}",`, 60_000) + "]}\n", Options{Environment: "e"}, []string{"more than 64 MiB of text"}},
		{"too long texts", "environments:\n  e:\n    a: " + strings.Repeat("x", 1000) + "\n" + doubling(11) + "s:\n  a:\n    container: {image: i, cmds: [" + strings.Repeat(`"${v10}${v10}${v10}",`, 40_000) + "]}\n", Options{Environment: "e"}, []string{"more than 4 MiB", "more than 64 MiB of text"}},
		{"too much text in names", "s:\n  a:\n    container: {image: i, cmds: [c], matrix: {x: ['" + strings.Repeat("x", 500_000) + "'], y: [" + numbered("%d,", 250) + "]}}\n", Options{}, []string{"more than 64 MiB of text"}},
		{"too much text in defaults", "s: {" + numbered("s%d: {docker: {file: f, tag: t}},", 3000) + "}", Options{Vars: map[string]string{"REG_URL": strings.Repeat("x", 1<<20)}}, []string{"more than 64 MiB of text"}},
		{"too many files", "s:\n  a:\n    kubectl: {files: [" + strings.Repeat("d, ", 90_000) + "]}\n", Options{Files: fstest.MapFS{"d/a.yml": {}, "d/b": {}}}, []string{"more than 50000 files"}},
		{"no regular file", "s:\n  a:\n    kubectl: {files: [d, d/p.yml]}\n", Options{Files: fstest.MapFS{"d/p.yml": {Mode: fs.ModeNamedPipe}}}, []string{`"d/p.yml" cannot be read: it is no regular file`}},
		{"many unknown names", "environments: {e: {" + numbered("e%d: 1,", 50_000) + "}}\ns:\n  a:\n    container: {image: i, cmds: [c], env: {" + numbered(`E%d: "${u%[1]d}",`, 20_000) + "}}\n", Options{Environment: "e", Strict: true}, []string{"more problems"}},
		{"too much text in scripts", manyMatrices(2, "env: {A: x}, cmds: ['"+strings.Repeat("x", 400_000)+"']"), Options{}, []string{"more than 64 MiB of text"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := mustParse(t, tt.src).Plan(tt.opts)
			if err == nil || p != nil {
				t.Fatalf("plan %v, error %v", p, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\nhas no %s", err, want)
				}
			}
		})
	}
}

func doubling(n int) string {
	var b strings.Builder
	last := "a"
	for i := range n {
		name := fmt.Sprintf("v%d", i)
		fmt.Fprintf(&b, "    %s: ${%s}${%s}\n", name, last, last)
		last = name
	}
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    v%04d: ${v%04d}\n", i, i+1)
	}
	fmt.Fprintf(&b, "    v%04d: end\n", n)
	return b.String()
}

// What manyMatrices can add beside literal keys.
const (
	needsBefore   = "needs all earlier steps"
	manyVariables = "has 300 environment variables"
)

// manyMatrices returns a definition with n steps of 256 elements each, and with more keys in each.
func manyMatrices(n int, more string) string {
	var list, b strings.Builder
	for i := range 16 {
		fmt.Fprintf(&list, "%d,", i)
	}
	b.WriteString("s:\n")
	for i := range n {
		keys := more
		switch {
		case more == needsBefore:
			keys = "needs: ["
			for j := range i {
				keys += fmt.Sprintf("s%d, ", j)
			}
			keys += "]"
		case more == manyVariables:
			keys = "env: {"
			for j := range 300 {
				keys += fmt.Sprintf("A%d: x, ", j)
			}
			keys += "}"
		}
		if !strings.Contains(keys, "cmds") {
			keys += ", cmds: [c]"
		}
		fmt.Fprintf(&b, "  s%d:\n    container: {image: i, matrix: {a: [%[2]s], b: [%[2]s]}, %s}\n", i, list.String(), strings.TrimPrefix(keys, ", "))
	}
	return b.String()
}

func TestPlan_warnings(t *testing.T) {
	src := "environments:\n  e: {a: \"é ${nope}\"}\ns:\n\ta:\n"
	src = strings.Replace(src, "\ta:\n", "  a:\n    container:\n      image: \"${imag}:${imag}\"\n      cmds: ['${HOME}']\n      services: {d: {image: d, cmds: ['${PATH}']}}\n", 1)
	p := mustPlan(t, src, Options{Environment: "e", Vars: map[string]string{"image": ""}})
	golden(t, "testdata/warnings.golden", p.Warnings.Error()+"\n")
}

// No message shows a secret, but the place and the template of it.
func TestPlan_errorsHideSecrets(t *testing.T) {
	_, err := mustParse(t, `
inputs:
  - {name: token, type: password}
  - {name: n, type: number, default: "1${token}"}
  - {name: c, type: choice, values: [a], default: "${v}${token}"}
environments: {e: {derived: "x-${token}"}}
s:
  a:
    container:
      image: i
      cmds: [c]
      os: ${token}
      timeout: ${derived}
      retry: ${token}
      resources: {cpu: "${token}", memory: "${derived}"}
      artifacts: ["../${token}"]
  b:
    kubectl: {file: "${token}.yml", force: "${token}"}
  c:
    container: {image: i, cmds: [c], matrix: {m: ["${derived}"]}}
  d:
    kubectl: {file: "${token}.yml"}
`).Plan(Options{Environment: "e", Inputs: map[string]string{"token": "hunter2"}, Files: fstest.MapFS{}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	errs, _ := errors.AsType[Errors](err)
	equal(t, 11, len(errs))
}

// A definition is used by many goroutines at once.
func TestDefinition_concurrent(t *testing.T) {
	d := mustParse(t, complete)
	want, err := d.Plan(completeOptions)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := d.Plan(completeOptions); err != nil || !cmp.Equal(want, got) {
				t.Errorf("another plan, or error %v", err)
			}
			if _, err := d.Render(completeOptions); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPlan_matrix(t *testing.T) {
	p := mustPlan(t, `
environments: {e: {go: shadowed, one: 1}}
s:
  a b:
    container: {image: "i:${go}-${os}", cmds: ["${go}"], matrix: {go: ["${one}", 2], os: [x, y]}}
  c:
    container: {image: "i:${go}", cmds: [c], needs: [a b]}
`, Options{Environment: "e"})
	var names, images []string
	ids := map[string]bool{}
	for _, s := range p.Stages[0].Steps {
		names, images = append(names, s.Name), append(images, s.Container.Image)
		ids[s.ID] = true
	}
	equal(t, []string{"a b (1, x)", "a b (1, y)", "a b (2, x)", "a b (2, y)", "c"}, names)
	equal(t, []string{"i:1-x", "i:1-y", "i:2-x", "i:2-y", "i:shadowed"}, images)
	equal(t, 5, len(ids))
	equal(t, 4, len(p.Stages[0].Steps[4].Needs))
	equal(t, []MatrixValue{{"go", Value{Number, "2"}}, {"os", Value{Text: "x"}}}, p.Stages[0].Steps[2].Matrix)
}

// A plan survives JSON whatever notations its numbers have.
func TestPlan_notations(t *testing.T) {
	d := mustParse(t, "s:\n  a:\n    helm: {chart: c, name: n, namespace: n, set: {a: 0x1f, b: 017, c: 1_000, d: .5, e: 1.10}}\n"+
		"  b:\n    container: {image: i, cmds: ['${x}'], matrix: {x: [0x1f]}}\n")
	p, err := d.Plan(Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back := &Plan{}
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	equal(t, p, back)
	equal(t, map[string]Value{"a": {Number, "31"}, "b": {Number, "17"}, "c": {Number, "1000"}, "d": {Number, "0.5"}, "e": {Number, "1.10"}}, p.Stages[0].Steps[0].Helm.Set)
	if st := p.Stages[0].Steps[1]; st.Name != "b (0x1f)" || st.Container.Script != "0x1f" {
		t.Errorf("step %q runs %q", st.Name, st.Container.Script)
	}
}

func TestPlan_secretFileName(t *testing.T) {
	d := mustParse(t, "inputs: [{name: pw, type: password}]\ns:\n  a:\n    kubectl: {file: '${pw}'}\n")
	p, err := d.Plan(Options{Inputs: map[string]string{"pw": "s3cret"}, Files: fstest.MapFS{"s3cret": {Data: []byte("${who}")}}})
	if err != nil || len(p.Warnings) != 1 || strings.Contains(p.Warnings.Error(), "s3cret") {
		t.Errorf("error %v, warnings %v", err, p.Warnings)
	}
}

func TestPlan_fileWithoutFiles(t *testing.T) {
	p, err := mustParse(t, "s:\n  a:\n    kubectl: {file: a.yml, files: []}\n").Plan(Options{})
	if err != nil || len(p.Stages[0].Steps[0].Kubectl.Files) != 1 {
		t.Errorf("plan %+v, error %v", p, err)
	}
}
