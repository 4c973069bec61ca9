package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the tables of settings in docs anew")

// TestProvisionerReference: the documentation has every setting, as the command has it.
func TestProvisionerReference(t *testing.T) {
	t.Setenv(provisionerEnv+"_CONFIG", "")
	sameSettings(t, "../../../../docs/provisioner.md", newProvisioner())
}

// TestWatchdogReference is the same of the watchdog.
func TestWatchdogReference(t *testing.T) {
	t.Setenv(watchdogEnv+"_CONFIG", "")
	sameSettings(t, "../../../../docs/watchdog.md", newWatchdog())
}

// TestAggregatorReference is the same of the aggregator.
func TestAggregatorReference(t *testing.T) {
	t.Setenv(aggregatorEnv+"_CONFIG", "")
	sameSettings(t, "../../../../docs/aggregator.md", newAggregator())
}

// sameSettings wants the table of a page to be that of a command, or writes it.
func sameSettings(t *testing.T, path string, cmd *cobra.Command) {
	t.Helper()
	const begin, end = "<!-- settings -->\n", "<!-- end of settings -->\n"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	has, after, ends := strings.Cut(rest, end)
	if !ok || !ends {
		t.Fatalf("%s has no %q and %q", path, begin, end)
	}
	var want strings.Builder
	want.WriteString("| setting | default | |\n|---|---|---|\n")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := f.Name
		if value != "" {
			name += " " + strings.TrimSuffix(value, "Array")
		}
		standard := f.DefValue
		if standard == "[]" || standard == "0" || standard == "false" {
			standard = ""
		}
		fmt.Fprintf(&want, "| `--%s` | %s | %s |\n", name, standard, strings.NewReplacer("|", "\\|", "*", "\\*").Replace(usage))
	})
	if has == want.String() {
		return
	}
	if !*update {
		t.Fatalf("the settings in %s are not those of the command: run this test with -update. They are\n%s", path, want.String())
	}
	if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
