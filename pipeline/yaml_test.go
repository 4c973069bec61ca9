package pipeline

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const step1 = "s:\n  a:\n    container: {image: i, cmds: [c]}\n"

// broken has texts that are no definition, with what each is about. The golden file holds what is said of them.
var broken = []struct{ name, src string }{
	{"empty file", ""},
	{"only comments", "# nothing\n\n"},
	{"only a document start", "---\n"},
	{"explicit null", "~\n"},
	{"list", "- a\n"},
	{"text", "hello\n"},
	{"number", "5\n"},
	{"unclosed bracket", "a: [b\nc: d\n"},
	{"unclosed brace", "a: {b: c\n"},
	{"unclosed quote", "a: \"b\nc: d\n"},
	{"unclosed single quote", "a: 'b\nc: d\n"},
	{"reference in brackets", "a: [echo ${b}]\n"},
	{"reference in brackets and quotes", "a: [echo \"${b}\"]\n"},
	{"tab", "a:\n\tb: c\n"},
	{"tab after spaces", "a:\n  \tb: [c\n"},
	{"colon in text", "a: b: c\n"},
	{"colon after other scripts", "äöü: 日本: c\n"},
	{"reserved character", "a: @b\n"},
	{"backquote", "a: `b`\n"},
	{"bad escape", "a: \"\\q\"\n"},
	{"bad indentation", "a:\n    b: c\n  d: e\n"},
	{"stray brace", "a: {b: c}}\n"},
	{"unknown alias", "a: *b\n"},
	{"endless alias", "a: &b\n  c: *b\n"},
	{"endless alias in a list", "a: &b [*b]\n"},
	{"endless merge", "a: &b\n  <<: *b\n"},
	{"merge of text", "<<: text\n" + step1},
	{"merge of a list of text", "<<: [text]\n" + step1},
	{"duplicate stage", step1 + step1},
	{"duplicate number", "1: {}\n\"1\": {}\n"},
	{"duplicate in a step", "s:\n  a:\n    container: {image: i, cmds: [c], image: j}\n"},
	{"key that is a list", "? [a]\n: b\n" + step1},
	{"key that is null", "~: b\n" + step1},
	{"own tag", "s: !stage {}\n"},
	{"own tag on text", "s: {a: {container: {image: !x i, cmds: [c]}}}\n"},
	{"wrong tag", "s: {a: {container: {image: !!int i, cmds: [c]}}}\n"},
	{"binary tag", "s: {a: {container: {image: !!binary aQ==, cmds: [c]}}}\n"},
	{"two documents", step1 + "---\n" + step1},
	{"broken second document", step1 + "---\na: [\n"},
	{"empty files", "s:\n  a:\n    kubectl: {files: []}\n"},
	{"no choices", "inputs: [{name: a, type: choice, values: [], default: x}]\n" + step1},
	{"caches in bad places", "s:\n  a:\n    container: {image: i, cmds: [c], cache: [{path: /x/.., key: k}, {path: ../x, key: k}, {path: ./, key: k}]}\n"},
	{"third document", step1 + "---\n---\ndeploy: {}\n"},
	{"NUL", "a: b\x00\n"},
	{"escape character", "a: b\nc: \x1b[31m\n"},
	{"no UTF-8", "a: b\n  # \xe4\n"},
	{"UTF-16", "\xff\xfea\x00:\x00"},
	{"incompatible version", "%YAML 3.0\n---\na: b\n"},
	{"unknown directive", "%FOO\n---\na: [\n"},
	{"CRLF", "a: b\r\ns:\r\n  x: y\r\n"},
	{"CR", "a: b\rs:\r  x: y\r"},
	{"wide characters", "日本: {a: {contaner: x}}\n"},
	{"tabs before the place", "s:\t\t{a:\t\t{contaner:\tx}}\n"},
	{"combining characters", "e\u0301e\u0301: {a: {contaner: x}}\n"},
	{"direction marks", "s: {a: {\"contaner\u202e\": x}}\n"},
	{"line separator", "\"a\u2028b\": {a: x}\n"},
	{"long line", "s: {a: {contaner: " + strings.Repeat("x", 300) + ", contaner2: " + strings.Repeat("ü", 300) + "}}\n"},
	{"no stage", "inputs: []\nenvironments: {}\n"},
	{"extension as a list", "timeout: [1h]\nconcurrency: many\n" + step1},
	{"inputs as a map", "inputs: {a: b}\n" + step1},
	{"environments as a list", "environments: [a]\n" + step1},
	{"elements of the wrong kind", "inputs: [a]\ns:\n  environments: [[x]]\n  a:\n    container: {image: i, cmds: [c, [d], null, {e: f}]}\n"},
}

func TestParse_broken(t *testing.T) {
	var b strings.Builder
	for _, tt := range broken {
		d, err := Parse("f", []byte(tt.src))
		if err == nil || d != nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		if strings.ContainsAny(err.Error(), "\x00\x1b\r\u202e") {
			t.Errorf("%s: the message has control characters: %q", tt.name, err)
		}
		fmt.Fprintf(&b, "== %s\n%s\n", tt.name, err)
	}
	golden(t, "testdata/broken.golden", b.String())
}

func TestParse_notations(t *testing.T) {
	want := mustPlan(t, step1, Options{})
	for name, src := range map[string]string{
		"byte order mark": "\ufeff" + step1,
		"CRLF":            strings.ReplaceAll(step1, "\n", "\r\n"),
		"CR":              strings.ReplaceAll(step1, "\n", "\r"),
		"document start":  "---" + strings.Replace(" \n", " ", "", 1) + step1,
		"document end":    step1 + "...\n",
		"empty document":  step1 + "---\n",
		"comments":        "# é\n" + step1 + "# end",
		"tabs":            "s:\n  a:\t# x\n    container:\t{image:\ti,\tcmds: [c]}\t\n",
		"JSON":            `{"s": {"a": {"container": {"image": "i", "cmds": ["c"]}}}}`,
		"anchors":         "s:\n  a: &x\n    container: {image: &i i, cmds: [&c c]}\n",
		"merge key":       "s:\n  a:\n    container:\n      <<: [{image: i}, {image: j, cmds: [c]}]\n",
		"tags":            "s: !!map {a: {container: {image: !!str i, cmds: !!seq [c]}}}\n",
		"nothing given":   "inputs:\nenvironments:\ns:\n  run-if:\n  environments:\n  a:\n    container: {image: i, cmds: [c], shell: , env: ~, timeout: }\n",
		"no filter":       "s:\n  environments: []\n  a:\n    container: {image: i, cmds: [c]}\n",
	} {
		got := mustPlan(t, src, Options{})
		for i := range got.Stages[0].Steps {
			got.Stages[0].Steps[i].Line = 2
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestParse_aliases(t *testing.T) {
	p := mustPlan(t, `
build:
  a: {container: &base {image: i, cmds: &cmds [one, two], env: {A: 1}}}
  b: {container: {<<: *base, image: j}}
  c: {container: {image: k, <<: *base}}
  d: {container: {image: l, cmds: *cmds}}
`, Options{})
	var got []string
	for _, s := range p.Stages[0].Steps {
		got = append(got, fmt.Sprint(s.Container.Image, s.Container.Args()[2:], s.Container.Env))
	}
	equal(t, []string{"i[one\ntwo] map[A:1]", "j[one\ntwo] map[A:1]", "k[one\ntwo] map[A:1]", "l[one\ntwo] map[]"}, got)
}

// Scalars mean what YAML 1.2 says, but for the booleans of 1.1 where a boolean is asked for.
func TestParse_scalars(t *testing.T) {
	for in, want := range map[string]string{
		"yes": "yes", "on": "on", "0o17": "0o17", "017": "017", "1_000": "1_000", "1.10": "1.10", "0x1f": "0x1f", "12:30:45": "12:30:45",
		"2020-01-01": "2020-01-01", "True": "true", "'True'": "True", "1e3": "1e3", ".inf": ".inf", "'~'": "~", "a # b": "a", "\"a\\n\"": "a\n",
	} {
		p := mustPlan(t, "s:\n  a:\n    container:\n      image: i\n      cmds: [c]\n      env:\n        X: "+in+"\n", Options{})
		if got := p.Stages[0].Steps[0].Container.Env["X"]; got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]bool{"true": true, "TRUE": true, "yes": true, "on": true, "y": true, "false": false, "No": false, "off": false} {
		p := mustPlan(t, "s:\n  a:\n    kubectl: {file: f, force: "+in+"}\n", Options{})
		if got := p.Stages[0].Steps[0].Kubectl.Force; got != want {
			t.Errorf("%s is %v, want %v", in, got, want)
		}
	}
	if _, err := Parse("f", []byte("s:\n  a:\n    kubectl: {file: f, force: 'true'}\n")); err == nil {
		t.Error("quoted text passes for a boolean")
	}
}

// sized returns a definition of exactly n bytes.
func sized(n int) []byte {
	return append([]byte(step1), append([]byte("#"), []byte(strings.Repeat("x", n-len(step1)-1))...)...)
}

func TestParse_size(t *testing.T) {
	if _, err := Parse("f", sized(MaxSize)); err != nil {
		t.Errorf("a file of MaxSize: %v", err)
	}
	for _, n := range []int{MaxSize + 1, 10 << 20} {
		if _, err := Parse("f", sized(n)); err == nil || !strings.Contains(err.Error(), "more than 1 MiB") {
			t.Errorf("a file of %d bytes: %v", n, err)
		}
	}
}

// Files that are made to take much time or memory are refused, or read, within bounds.
func TestParse_bombs(t *testing.T) {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	merges := "a: &a {x: {}}\n"
	for c := 'b'; c <= 'z'; c++ {
		merges += fmt.Sprintf("%c: &%c {<<: [*%c,*%c,*%c,*%c]}\n", c, c, c-1, c-1, c-1, c-1)
	}
	var errs, deepAlias strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&errs, "s%d: x\n", i)
	}
	deepAlias.WriteString("a0: &a0 x\n")
	for i := range 5000 {
		fmt.Fprintf(&deepAlias, "a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	tests := []struct{ name, src, want string }{
		{"aliases", laughs, "counting every use of an alias"},
		{"merges", merges, "counting every use of an alias"},
		{"deep aliases", deepAlias.String(), "deep"},
		{"deep brackets", "a: " + strings.Repeat("[", MaxSize/2), "more than 100 deep"},
		{"deep maps", "a: " + strings.Repeat("{a: ", 1000), "more than 100 deep"},
		{"deep dashes", strings.Repeat("- ", MaxSize/4), "more than 100 deep"},
		{"wide list", "a: [" + strings.Repeat("a,", MaxSize/2-10) + "]", "more than 200000 keys and values"},
		{"many errors", errs.String(), "and 19500 more problems"},
		{"many errors in a line", "s: {" + strings.Repeat("a: , ", 30_000) + "}", "more problems"},
		{"many errors in a line of umlauts", "ä: {" + strings.Repeat("ä: , ", 30_000) + "}", "more problems"},
		{"many bad references in a line of umlauts", "s: {a: {container: {image: ä, cmds: [" + strings.Repeat(`"${}",`, 90_000) + "]}}}", "more problems"},
		{"many unknown environments", "environments: {" + numbered("e%d: ,", 40_000) + "}\ns: {environments: [" + numbered("f%d,", 60_000) + "]}", "more problems"},
		{"many long unknown environments", "environments: {" + numbered("e%040d: ,", 200) + "}\ns: {environments: [" + numbered("f%040d,", 20_000) + "]}", "more problems"},
		{"many unknown needs", "s: {" + numbered("k%d: ,", 2000) + "z: {container: {image: x, cmds: [x], needs: [" + numbered("x%d,", 60_000) + "]}}}", "more problems"},
		{"many cycles", "s: {z: {container: {image: x, cmds: [x], needs: &n [" + numbered("k%d,", 400) + "]}}, " + numbered("k%d: {container: {image: x, cmds: [x], needs: *n}},", 400) + "}", "more problems"},
		{"long keys", "x: &x {a: {" + strings.Repeat("k", 500_000) + ": 1}}\nb: {" + numbered("a%d: *x,", 40_000) + "}", "counting every use of an alias"},
		{"long text", "x: &x '" + strings.Repeat("k", 500_000) + "'\nb: [" + strings.Repeat("*x,", 100_000) + "]", "counting every use of an alias"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.src))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %.300v, want one with %q", err, tt.want)
			}
		})
	}
}

// numbered repeats a format with the numbers from 0.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestErrors_type(t *testing.T) {
	_, err := Parse("f", []byte("s: {a: {contaner: x}}"))
	errs, ok := err.(Errors)
	if !ok || len(errs) != 1 {
		t.Fatalf("error %T", err)
	}
	want := &Error{File: "f", Line: 1, Column: 9, Msg: `"contaner" is no step type`, Hint: `did you mean "container"?`, Source: "s: {a: {contaner: x}}", SourceColumn: 9}
	equal(t, want, errs[0])
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	for _, tt := range broken {
		f.Add([]byte(tt.src))
	}
	for _, tt := range mistakes {
		f.Add([]byte(tt.src))
	}
	for _, file := range []string{"testdata/errors/structure.yml", "testdata/errors/container.yml"} {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		Outline(src)
		ParseVarFile("v", src)
		d, err := Parse("f", src)
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Line < 0 || e.Line > strings.Count(string(src), "\n")+len(src)+1 || e.SourceColumn > len([]rune(e.Source))+1 || e.Msg == "" {
					t.Errorf("place of %+v", e)
				}
			}
			return
		}
		opts := Options{Inputs: map[string]string{}}
		for _, in := range d.Inputs() {
			opts.Inputs[in.Name] = "1"
		}
		for _, env := range append(d.Environments(), "") {
			opts.Environment = env
			if p, err := d.Plan(opts); err == nil {
				checkPlan(t, p)
			}
		}
		if out, err := d.Render(Options{}); err == nil && len(out) < MaxSize {
			if _, err := Parse("rendered", out); err != nil && !strings.Contains(string(src), "$") {
				t.Errorf("the rendered definition is wrong: %v\n%s", err, out)
			}
		}
	})
}

// checkPlan checks what is promised of every plan.
func checkPlan(t *testing.T, p *Plan) {
	ids := map[string]bool{}
	for _, s := range p.Stages {
		for _, st := range s.Steps {
			if ids[st.ID] || len(st.ID) > maxID || !dnsLabelRegex.MatchString(st.ID) {
				t.Errorf("bad ID %q", st.ID)
			}
			ids[st.ID] = true
			if s.Skip == "" && st.Container == nil && st.Docker == nil && st.Helm == nil && st.HelmPackage == nil && st.Kubectl == nil && st.NuGetPackage == nil {
				t.Errorf("step %q has nothing to do", st.ID)
			}
		}
		for _, st := range s.Steps {
			for _, need := range st.Needs {
				if !ids[need] {
					t.Errorf("step %q needs %q", st.ID, need)
				}
			}
		}
	}
}
