package pipeline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// extensionWords are all words that the language got after it was in use. None of them may mean anything where a base
// definition can have them.
var extensionWords = []string{
	"timeout", "concurrency", "env", "retry", "count", "on", "artifacts", "cache", "path", "key", "services", "ready", "tcp", "exec",
	"resources", "cpu", "memory", "limits", "user", "needs", "matrix", "container", "docker", "helm", "kubectl",
}

// TestPlan_baseProperty makes definitions in the language as it was, with extension words for names of stages, steps,
// environments, variables and inputs, and demands that each means what it always has.
func TestPlan_baseProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) []string {
		words := make([]string, 0, n)
		for _, i := range r.Perm(len(extensionWords))[:n] {
			words = append(words, extensionWords[i])
		}
		return words
	}
	for range 300 {
		var src strings.Builder
		var want []string
		inputs, vars := pick(2), pick(2)
		fmt.Fprintf(&src, "inputs:\n- {name: %s, type: string, default: in0}\n- {name: %s, type: string, default: in1}\n", inputs[0], inputs[1])
		fmt.Fprintf(&src, "environments:\n  e: {%s: env0, %s: env1}\n", vars[0], vars[1])
		value := map[string]string{inputs[0]: "in0", inputs[1]: "in1", vars[0]: "env0", vars[1]: "env1"}
		for s, stage := range pick(3) {
			runIf := []RunIf{RunIfSuccess, RunIfFail, RunIfAlways}[r.IntN(3)]
			fmt.Fprintf(&src, "%s:\n  run-if: %s\n", stage, runIf)
			if s == 0 {
				src.WriteString("  environments: [e]\n")
			}
			for _, step := range pick(3) {
				name := append(inputs, vars...)[r.IntN(4)]
				fmt.Fprintf(&src, "  %s:\n    container:\n      image: image-%s\n      shell: /bin/%s\n      cmds:\n      - %s: ${%s} ${HOME}\n",
					step, step, stage, "echo", name)
				want = append(want, fmt.Sprintf("%s %s %s image-%s [/bin/%s -c echo: %s ${HOME}]", stage, runIf, step, step, stage, value[name]))
			}
		}
		text := strings.ReplaceAll(src.String(), "- echo: ", "- 'echo: ")
		text = strings.ReplaceAll(text, "${HOME}\n", "${HOME}'\n")
		p := mustPlan(t, text, Options{Environment: "e"})
		var got []string
		for _, s := range p.Stages {
			for _, st := range s.Steps {
				got = append(got, fmt.Sprintf("%s %s %s %s %v", s.Name, s.RunIf, st.Name, st.Container.Image, st.Container.Args()))
				if st.Timeout != 0 || st.Retry.Count != 0 || len(st.Needs)+len(st.Matrix)+len(st.Services)+len(st.Artifacts)+len(st.Cache) != 0 || st.Resources != (Resources{}) {
					t.Errorf("an extension has an effect: %+v", st)
				}
			}
		}
		if p.Timeout != 0 || p.Concurrency != 0 {
			t.Errorf("an extension has an effect: %+v", p)
		}
		if t.Failed() {
			t.Fatal(text)
		}
		equal(t, want, got)
	}
}
