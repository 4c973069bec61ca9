package cli

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/pipeline"
)

// about is what a program knows of itself.
type about struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	// Modified says that the sources differed from the revision.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		a := self()
		if output.value == "json" {
			return printJSON(a)
		}
		if _, err := fmt.Println(a); err != nil {
			return trouble(err)
		}
		return nil
	}
	return cmd
}

// String is one line for a person.
func (a about) String() string {
	rev := ""
	if a.Revision != "" {
		rev = ", revision " + a.Revision
		if a.Modified {
			rev += " (modified)"
		}
	}
	return fmt.Sprintf("wharf %s%s, %s, %s/%s", a.Version, rev, a.Go, a.OS, a.Arch)
}

func self() about {
	a := about{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return a
	}
	if info.Main.Version != "" {
		a.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			a.Revision = s.Value
		case "vcs.time":
			a.Time = s.Value
		case "vcs.modified":
			a.Modified = s.Value == "true"
		}
	}
	return a
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of definitions, for editors",
		Example: `  wharf schema > wharf-ci.schema.json
  # first line of a .wharf-ci.yml, for editors with the YAML language server:
  # yaml-language-server: $schema=wharf-ci.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := os.Stdout.Write(pipeline.Schema()); err != nil {
				return trouble(err)
			}
			return nil
		},
	}
}
