package pipeline

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// block is a fenced block of the reference.
type block struct {
	info []string // the words after the fence
	text string
	line int
}

// blocks returns the fenced blocks of a document.
func blocks(doc string) []block {
	var all []block
	open := false
	for i, line := range strings.Split(doc, "\n") {
		switch info, fence := strings.CutPrefix(line, "```"); {
		case fence && !open:
			all = append(all, block{info: strings.Fields(info), line: i + 1})
			open = true
		case fence:
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
}

// options returns what the words of a block ask for: environment=…, input.NAME=…, var.NAME=….
func (b block) options(t *testing.T) Options {
	t.Helper()
	opts := Options{Inputs: map[string]string{}, Vars: map[string]string{}, Files: exampleFiles}
	for _, word := range b.info[1:] {
		key, value, _ := strings.Cut(word, "=")
		kind, name, _ := strings.Cut(key, ".")
		switch kind {
		case "environment":
			opts.Environment = value
		case "input":
			opts.Inputs[name] = value
		case "var":
			opts.Vars[name] = value
		case "plan-only", "wrong", "vars":
		default:
			t.Errorf("line %d: unknown word %q", b.line, word)
		}
	}
	return opts
}

func (b block) is(word string) bool {
	for _, w := range b.info {
		if w == word {
			return true
		}
	}
	return false
}

var exampleFiles = fstest.MapFS{
	"deploy/values.yml":  {Data: []byte("host: ${namespace}.example.com\n")},
	"deploy/service.yml": {Data: []byte("kind: Service\n")},
	"deploy/web.yml":     {Data: []byte("kind: Deployment\n")},
}

// Every example of the reference is a whole definition that does what the reference says.
func TestReference_examples(t *testing.T) {
	doc, err := os.ReadFile("../docs/wharf-ci-yml.md")
	if err != nil {
		t.Fatal(err)
	}
	all, schema := blocks(string(doc)), compileSchema(t)
	if len(all) < 20 {
		t.Fatalf("only %d examples found", len(all))
	}
	for i, b := range all {
		switch {
		case b.is("vars"):
			if _, err := ParseVarFile(VarFile, []byte(b.text)); err != nil {
				t.Errorf("line %d: %v", b.line, err)
			}
		case b.is("yaml") && b.is("wrong"):
			if i+1 == len(all) || !all[i+1].is("error") {
				t.Errorf("line %d: no text block with the error follows", b.line)
				continue
			}
			equal(t, all[i+1].text, example(t, b).Error()+"\n")
		case b.is("yaml"):
			if err := example(t, b); err != nil {
				t.Errorf("line %d: %v", b.line, err)
			}
			if err := schemaAccepts(t, schema, b.text); err != nil {
				t.Errorf("line %d: the schema refuses it: %v", b.line, err)
			}
		case !b.is("error"):
			t.Errorf("line %d: a block of the kind %q", b.line, b.info)
		}
	}
}

// example plans an example. Warnings count as errors, and so do images that a test machine has not.
func example(t *testing.T, b block) error {
	d, err := Parse(".wharf-ci.yml", []byte(b.text))
	if err != nil {
		return err
	}
	p, err := d.Plan(b.options(t))
	if err != nil {
		return err
	}
	if len(p.Warnings) > 0 {
		return p.Warnings
	}
	for _, s := range p.Stages {
		for _, st := range s.Steps {
			if !b.is("plan-only") && s.Skip == "" && (st.Container == nil || st.Container.Image != "localhost/wharf/busybox:1") {
				t.Errorf("line %d: the step %s cannot be run everywhere", b.line, st.Name)
			}
		}
	}
	return nil
}

// The reference names every key of every table and every built-in variable.
func TestReference_complete(t *testing.T) {
	doc, err := os.ReadFile("../docs/wharf-ci-yml.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := func(name string) {
		t.Helper()
		if !regexp.MustCompile("`[^`\n]*\\b" + regexp.QuoteMeta(name) + "\\b[^`\n]*`").Match(doc) {
			t.Errorf("the reference does not mention %s", name)
		}
	}
	var walk func(s *shape)
	walk = func(s *shape) {
		for _, f := range s.fields {
			documented(f.name)
			walk(f.shape)
		}
		if s.elem != nil {
			walk(s.elem)
		}
	}
	walk(inputsShape)
	for _, st := range stepTypes {
		walk(st.shape)
	}
	for _, name := range Builtins() {
		documented(name)
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(string(doc), -1) {
		heading := regexp.MustCompile(`(?im)^#+ ` + strings.ReplaceAll(regexp.QuoteMeta(link[1]), "-", "[- ]") + `$`)
		if !heading.Match([]byte(strings.ReplaceAll(string(doc), "`", ""))) {
			t.Errorf("the link #%s leads nowhere", link[1])
		}
	}
}
