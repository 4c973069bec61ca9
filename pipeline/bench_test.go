package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// large returns a definition of 1,000 steps in 20 stages.
func large() []byte {
	var b strings.Builder
	b.WriteString("environments:\n  stage: {namespace: stage, registry: registry.example.com}\n")
	for s := range 20 {
		fmt.Fprintf(&b, "stage%d:\n", s)
		for i := range 50 {
			fmt.Fprintf(&b, "  step%d:\n    container:\n      image: ${registry}/tools:1\n      cmds:\n        - echo ${namespace} ${HOME}\n        - make test-%d\n      env: {A: \"${namespace}\", B: text}\n      timeout: 10m\n", i, i)
			if i > 0 {
				fmt.Fprintf(&b, "      needs: [step%d]\n", i-1)
			}
		}
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	src := large()
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("f", src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	d := mustParse(b, string(large()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Plan(Options{Environment: "stage"}); err != nil {
			b.Fatal(err)
		}
	}
}
