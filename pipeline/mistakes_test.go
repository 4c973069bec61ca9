package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// mistakes are what people write who are new to the language. The golden file holds what is said of each.
var mistakes = []struct{ name, src string }{
	{"image that can be none", containerLines("image: Foo Bar\ncmds: [c]\nservices: {db: {image: \"alpine:\"}}\n")},
	{"image that is a URL", containerLines("image: http://alpine\ncmds: [c]\n")},
	{"image in upper case", containerLines("image: Alpine:3\ncmds: [c]\n")},
	{"shell with arguments", containerLines("image: alpine\nshell: bash -e\ncmds: [c]\n")},
	{"misspelt keys", containerLines("imgae: alpine\ncmd: [c]\n")},
	{"misspelt key of two", stepWith("{kubectl: {fiels: [a]}}")},
	{"keys of other tools", containerLines("image: alpine\nscript: [make]\ndepends_on: [b]\nenvironment: {A: b}\n")},
	{"unknown and missing key", containerLines("cmds: [c]\nfoo: bar\n")},
	{"asterisk", containerLines("image: alpine\nartifacts:\n  - *.txt\n")},
	{"asterisk in brackets", containerLines("image: alpine\nartifacts: [**/*.txt, x]\n")},
	{"asterisk of a pattern in the middle", containerLines("image: alpine\ncmds: [ls, *]\n")},
	{"ampersand", containerLines("image: alpine\ncmds:\n  - & make\n")},
	{"ampersands", containerLines("image: alpine\ncmds:\n  - && make\n")},
	{"ampersand and a word", containerLines("image: alpine\ncmds:\n  - &make\n")},
	{"exclamation mark", containerLines("image: alpine\ncmds:\n  - ! grep 'a' b\n")},
	{"exclamation mark and a word", containerLines("image: alpine\ncmds:\n  - !grep a\n")},
	{"exclamation marks", containerLines("image: alpine\ncmds:\n  - !a!b\n  - !{\n")},
	{"percent sign", containerLines("image: alpine\ncmds:\n  - %a\n")},
	{"at sign", containerLines("image: alpine\nuser: @me # comment\n")},
	{"backquote", containerLines("image: alpine\ncmds:\n  - `date`\n")},
	{"test in brackets", containerLines("image: alpine\ncmds:\n  - [ -f x ] && make\n")},
	{"test in two brackets", containerLines("image: alpine\ncmds:\n  - [[ -f x ]] || make\n")},
	{"only a test in brackets", containerLines("image: alpine\ncmds:\n  - [ -f x ]\n")},
	{"braces", containerLines("image: alpine\ncmds:\n  - { make; } > x\n")},
	{"template of another tool", containerLines("image: {{ image }}\ncmds: [c]\n")},
	{"quotation marks around a part", containerLines("image: alpine\ncmds:\n  - \"make\" all\n")},
	{"apostrophe", containerLines("image: alpine\ncmds:\n  - 'it's'\n")},
	{"backslash", containerLines("image: alpine\ncmds: [\"grep a\\d\"]\n")},
	{"pipe", containerLines("image: alpine\ncmds:\n  - | grep x\n")},
	{"only a comment", containerLines("image: alpine\ncmds:\n  - # make\n")},
	{"tab in the middle", "s:\n  a:\n    container:\n      image: x\n\tcmds: [c]\n"},
	{"no space behind a hyphen", containerLines("image: alpine\ncmds:\n  - make\n  -make\n")},
	{"no space behind a colon", containerLines("image:alpine\ncmds: [c]\n")},
	{"no space behind a colon in braces", containerLines("image: alpine\ncmds: [c]\nenv: {A:1}\n")},
	{"no colon", "build:\n  hello\n    container: {}\n"},
	{"lists where maps are", containerLines("image: alpine\ncmds: [c]\nenv: [A=b]\nservices: [postgres]\nmatrix: [1, 2]\nresources: 1Gi\ncache: [node_modules]\n")},
	{"text where maps are", containerLines("image: alpine\ncmds: [c]\nservices: {db: postgres}\n")},
	{"map where a list is", containerLines("image: alpine\ncmds: [c]\nartifacts: {paths: [out]}\n")},
	{"list where text is", containerLines("image: [alpine]\ncmds: [c]\n")},
	{"block where a list is", containerLines("image: alpine\ncmds: |\n  make\n")},
	{"map where inputs are", "inputs: {version: string}\n" + step1},
	{"list where environments are", "environments: [stage]\n" + step1},
	{"text where variables are", "environments: {namespace: shop}\n" + step1},
	{"nothing where a variable is", containerLines("image: alpine\ncmds: [c]\nenv:\n  A:\n")},
	{"variables of other tools", containerLines("image: alpine:$VERSION\ncmds: [c]\nservices: {db: {image: \"db:{{ tag }}\"}}\n")},
	{"numbers as text", containerLines("image: i\ncmds: [c]\nretry: \"2\"\nservices: {db: {image: i, ready: {tcp: \"80\"}}}\n")},
	{"port alone", containerLines("image: i\ncmds: [c]\nservices: {db: {image: i, ready: 80}}\n")},
	{"home directory", containerLines("image: i\ncmds: [c]\ncache: [{path: ~/.npm, key: npm}, {path: $HOME, key: home}]\n")},
	{"units of memory", containerLines("image: alpine\ncmds: [c]\nresources: {memory: 1GB, limits: {memory: 2 gib}}\n")},
	{"more units of memory", containerLines("image: alpine\ncmds: [c]\nresources: {memory: 512m, limits: {memory: 5 apples}}\n")},
	{"units of cores", containerLines("image: alpine\ncmds: [c]\nresources: {cpu: 2 cores, limits: {cpu: 2500M}}\n")},
	{"units of time", "timeout: 1d\n" + containerLines("image: alpine\ncmds: [c]\ntimeout: 5 minutes\nservices: {db: {image: x, timeout: 90 parsecs}}\n")},
	{"file of GitLab CI", "image: golang\nstages: [build]\nvariables:\n  A: b\nbefore_script:\n  - env\nbuild:\n  stage: build\n  script:\n    - make\n"},
	{"file of GitHub Actions", "on: [push]\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make\n"},
	{"file of CircleCI", "version: 2.1\njobs:\n  build:\n    docker:\n      - image: cimg/base\n    steps: [checkout]\n"},
	{"steps as a list", "pipeline: ci\nsteps:\n- name: build\n  image: golang\n"},
	{"stages in a map", "stages:\n  build:\n    hello:\n      container: {image: alpine, cmds: [c]}\n"},
	{"steps of a stage in a list", "build:\n  - hello:\n      container: {image: alpine, cmds: [c]}\n"},
	{"list", "- image: alpine\n"},
	{"only a step", "image: alpine\ncmds: [c]\n"},
	{"no name of a step", "build:\n  container:\n    image: alpine\n    cmds: [c]\n"},
	{"no step type", "build:\n  hello:\n    image: alpine\n    cmds: [c]\n"},
	{"no indentation below a step type", "build:\n  hello:\n    container:\n    image: alpine\n    cmds: [c]\n  next:\n    container: {image: i, cmds: [c], needs: [hello]}\n"},
	{"misspelt key at the margin", "enviroments:\n  stage: {a: b}\nbuild:\n  environments: [stage]\n  a: {container: {image: i, cmds: [c]}}\n"},
	{"key of a stage in a step", containerLines("image: i\ncmds: [c]\nrun-if: always\n")},
	{"key of a stage beside a step type", "build:\n  a:\n    container: {image: i, cmds: [c]}\n    run-if: always\n"},
	{"value of another tool", "build:\n  run-if: failure\n  a: {container: {image: i, cmds: [c]}}\n"},
	{"need of another stage", "build:\n  make: {container: {image: i, cmds: [c]}}\ntest:\n  unit: {container: {image: i, cmds: [c], needs: [make]}}\n"},
}

// containerLines returns a definition with the lines of a container step.
func containerLines(lines string) string {
	return "build:\n  hello:\n    container:\n      " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n      ") + "\n"
}

func TestParse_mistakes(t *testing.T) {
	var b strings.Builder
	for _, tt := range mistakes {
		_, err := Parse("f", []byte(tt.src))
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		fmt.Fprintf(&b, "== %s\n%s\n", tt.name, err)
	}
	golden(t, "testdata/mistakes.golden", b.String())
}
