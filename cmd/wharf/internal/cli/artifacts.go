package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/target"
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
		RunE: func(cmd *cobra.Command, args []string) error { return k.run(cmd.Context(), args) },
	}
	k.addTo(cmd)
	k.output = outputFlag(cmd, "table", "json")
	cmd.Flags().StringVarP(&k.step, "step", "s", "", "only those of this step, by its ID (STAGE--STEP) or as STAGE/STEP")
	cmd.Flags().StringVar(&k.download, "download", "", "copy the files into this `directory`, below one for each step")
	_ = cmd.MarkFlagDirname("download")
	return cmd
}

func (k *keeping) run(ctx context.Context, args []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
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
		if err := k.fetch(ctx, t, wanted); err != nil {
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", text.Line(a.Step), text.Line(a.Name), text.Bytes(a.Size), a.SHA256)
	}
	if err := w.Flush(); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}

// fetch copies artifacts, each below a directory of its step.
func (k *keeping) fetch(ctx context.Context, t *target.Target, all []client.Artifact) error {
	if err := os.MkdirAll(k.download, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(k.download)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, a := range all {
		if err := fetchOne(ctx, t, root, a); err != nil {
			return fmt.Errorf("artifact %s of %s: %w", a.Name, a.Step, err)
		}
	}
	return nil
}

// fetchOne copies an artifact, beginning where an earlier copy ends, and checks its sum. What has come stays if it breaks off.
func fetchOne(ctx context.Context, t *target.Target, root *os.Root, a client.Artifact) error {
	path := filepath.Join(a.Step, filepath.FromSlash(a.Name))
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if sum, err := sumOf(root, path); err == nil && sum == a.SHA256 {
		return nil
	}
	part := path + ".part"
	f, err := root.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have > a.Size {
		if err := errors.Join(f.Truncate(0)); err != nil {
			return err
		}
		have, _ = f.Seek(0, io.SeekStart)
	}
	if err := t.ReadArtifact(ctx, a, have, f); err != nil {
		return err
	}
	sum, err := sumOf(root, part)
	if err == nil && sum != a.SHA256 {
		err = errors.Join(errors.New("what came is not what was kept: its SHA-256 differs; try again"), root.Remove(part))
	}
	if err != nil {
		return err
	}
	return root.Rename(part, path)
}

// sumOf is the SHA-256 of a file.
func sumOf(root *os.Root, path string) (string, error) {
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fs.ErrInvalid
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
