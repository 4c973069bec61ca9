package cli

import (
	"strings"
	"testing"

	"github.com/wharfci/wharf/pipeline"
)

// A secret is hidden also where it has several lines, or characters that are shown in another way.
func TestPrintPlanHidesSecrets(t *testing.T) {
	def, err := pipeline.Parse(".wharf-ci.yml", []byte("inputs:\n- {name: pw, type: password}\nbuild:\n  a: {container: {image: img, cmds: ['echo ${pw}', 'echo two']}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "BEGIN KEY\nc2VjcmV0\nEND KEY", "tab\there", "<&>\"quoted\"", "row<1>\r\nrow<2>\r\n"} {
		plan, err := def.Plan(pipeline.Options{Inputs: map[string]string{"pw": secret}})
		if err != nil {
			t.Fatal(err)
		}
		for _, asJSON := range []bool{false, true} {
			var out strings.Builder
			if err := printPlan(&out, plan, asJSON); err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"hunter", "KEY", "c2Vj", "here", "quoted", "row"} {
				if strings.Contains(out.String(), part) {
					t.Errorf("secret %q, JSON %t: shows %q in:\n%s", secret, asJSON, part, out.String())
				}
			}
			if !strings.Contains(out.String(), "echo two") {
				t.Errorf("secret %q, JSON %t: the rest is missing:\n%s", secret, asJSON, out.String())
			}
		}
	}
}
