package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/mask"
)

// printPlan shows what would run, with the values of secrets masked.
func printPlan(w io.Writer, plan *pipeline.Plan, asJSON bool) error {
	if asJSON {
		return printPlanJSON(w, plan)
	}
	b := planText{hide: mask.New(plan.Secrets...)}
	if plan.Environment != "" {
		fmt.Fprintf(&b, "environment %s\n", b.line(plan.Environment))
	}
	if plan.Timeout != 0 {
		fmt.Fprintf(&b, "all within %v\n", plan.Timeout)
	}
	for i := range plan.Stages {
		b.stage(&plan.Stages[i])
	}
	if len(plan.Stages) == 0 {
		b.WriteString("nothing to do: the definition has no stages\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// planText is the plan as a person reads it. Secrets are hidden before the text is made safe to show, which may change them.
type planText struct {
	strings.Builder
	hide *mask.Secrets
}

func (b *planText) line(s string) string { return text.Line(b.hide.String(s)) }

// printPlanJSON prints the plan itself. Secrets are looked for as JSON writes them.
func printPlanJSON(w io.Writer, plan *pipeline.Plan) error {
	open := *plan
	open.Secrets = nil
	out, err := json.MarshalIndent(&open, "", "  ")
	if err != nil {
		return err
	}
	var forms []string
	for _, secret := range plan.Secrets {
		for _, s := range append(strings.Split(secret, "\n"), secret) { // as logs hide them: as a whole, and line by line
			quoted, _ := json.Marshal(s) // of a string it cannot fail
			if s == secret || len(strings.TrimSpace(s)) >= 4 {
				forms = append(forms, string(quoted[1:len(quoted)-1]))
			}
		}
	}
	_, err = io.WriteString(w, mask.New(forms...).String(string(out))+"\n")
	return err
}

func (b *planText) stage(st *pipeline.Stage) {
	fmt.Fprintf(b, "stage %s", b.line(st.Name))
	switch {
	case st.Skip != "":
		fmt.Fprintf(b, " (skipped: %s)", b.line(st.Skip))
	case st.RunIf == pipeline.RunIfFail:
		b.WriteString(" (only if an earlier stage failed)")
	case st.RunIf == pipeline.RunIfAlways:
		b.WriteString(" (whatever happened before)")
	}
	b.WriteString("\n")
	for i := range st.Steps {
		b.step(st, &st.Steps[i])
	}
}

func (b *planText) step(st *pipeline.Stage, s *pipeline.Step) {
	fmt.Fprintf(b, "  step %s: %s", b.line(s.Name), s.Type)
	if s.Container != nil {
		fmt.Fprintf(b, " %s", b.line(s.Container.Image))
	}
	b.WriteString("\n")
	b.list("after", names(st, s.Needs))
	if s.Timeout != 0 {
		fmt.Fprintf(b, "    within %v\n", s.Timeout)
	}
	if s.Retry.Count > 0 {
		fmt.Fprintf(b, "    again at most %d times\n", s.Retry.Count)
	}
	for i := range s.Services {
		fmt.Fprintf(b, "    beside %s: %s\n", b.line(s.Services[i].Name), b.line(s.Services[i].Image))
	}
	for _, c := range s.Cache {
		fmt.Fprintf(b, "    cache %s: %s\n", b.line(c.Key), b.line(c.Path))
	}
	b.list("keeps", s.Artifacts)
	if s.Container == nil {
		return
	}
	b.list("env", slices.Sorted(maps.Keys(s.Container.Env)))
	for line := range strings.Lines(strings.TrimRight(b.hide.String(s.Container.Script), "\n")) {
		fmt.Fprintf(b, "    | %s\n", text.Clean(strings.TrimRight(line, "\n")))
	}
}

// list writes a line with some words, if there are any.
func (b *planText) list(label string, words []string) {
	if len(words) > 0 {
		fmt.Fprintf(b, "    %s %s\n", label, b.line(strings.Join(words, ", ")))
	}
}

// names returns what a person calls the steps of a stage.
func names(st *pipeline.Stage, ids []string) []string {
	var all []string
	for i := range st.Steps {
		if slices.Contains(ids, st.Steps[i].ID) {
			all = append(all, st.Steps[i].Name)
		}
	}
	return all
}
