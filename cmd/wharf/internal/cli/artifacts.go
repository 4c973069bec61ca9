package cli

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker/client"
)

// keeping is what "wharf artifacts" does.
type keeping struct {
	targeted
	step, download string
	output         *choice
}

func newArtifacts() *cobra.Command {
	var k keeping
	cmd := &cobra.Command{
		Use:   "artifacts [build]",
		Short: "List or download the files that a build has kept",
		Long: `Lists the artifacts of a build, with sizes and SHA-256 sums; with --download it
copies them, and goes on with files that an earlier download has left unfinished.

` + whichBuild,
		Example: `  wharf artifacts
  wharf artifacts --step build--wharf --download out
  wharf artifacts ci-7.internal:7500 --token-file token --download out`,
		Args: cobra.MaximumNArgs(1),
		RunE: interruptible(k.run),
	}
	k.addTo(cmd)
	k.output = outputFlag(cmd, "table", "json")
	cmd.Flags().StringVarP(&k.step, "step", "s", "", "only those of this step, by its ID (STAGE--STEP) or as STAGE/STEP")
	cmd.Flags().StringVar(&k.download, "download", "", "copy the files into this `directory`, below one for each step")
	_ = cmd.MarkFlagDirname("download")
	return cmd
}

func (k *keeping) run(ctx context.Context, args []string) error {
	t, _, err := k.openStep(ctx, args, &k.step)
	if err != nil {
		return err
	}
	defer t.Close()
	all, err := t.Artifacts(ctx)
	if err != nil {
		return unreadable(err)
	}
	wanted := []client.Artifact{}
	for _, a := range all {
		if k.step == "" || a.Step == k.step {
			wanted = append(wanted, a)
		}
	}
	if k.download != "" {
		if err := fetch(ctx, t, k.download, wanted); err != nil {
			return trouble(err)
		}
	}
	return k.print(wanted)
}

func (k *keeping) print(all []client.Artifact) error {
	if k.output.value == "json" {
		type file struct {
			Step   string `json:"step"`
			Name   string `json:"name"`
			Size   int64  `json:"size"`
			SHA256 string `json:"sha256"`
		}
		files := []file{}
		for _, a := range all {
			files = append(files, file(a))
		}
		return printJSON(files)
	}
	if len(all) == 0 {
		fmt.Println("no artifacts")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tNAME\tSIZE\tSHA-256")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", text.Line(a.Step), text.Line(a.Name), text.Bytes(a.Size), text.Line(a.SHA256))
	}
	if err := w.Flush(); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}
