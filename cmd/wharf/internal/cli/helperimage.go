package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/helperimage"
	"github.com/wharfci/wharf/driver/kubernetes"
)

func newHelperImage() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "helper-image NAME PROGRAM...",
		Short: "Make the image that Kubernetes needs on its nodes",
		Long: `In each pod of a build on Kubernetes runs a small program, the helper. Its image
must be where the nodes of the cluster find it. This command makes the image of
the program and pushes it to the registry of its name, or writes it to a file.

The program is of the same version as wharf, one file for each architecture of
the nodes; where Wharf's sources are:

  CGO_ENABLED=0 GOOS=linux GOARCH=amd64 \
    go build -o helper-amd64 github.com/wharfci/wharf/driver/kubernetes/helper

Builds name the image in the URL of the driver, unless it is called
` + kubernetes.DefaultHelperImage + `:

  --driver 'kubernetes://?helper-image=registry.example/wharf/helper:1'

Of wharf itself as the program it makes the image for "wharf conformance" in a
cluster.

Credentials for the registry are those of "docker login" or "podman login".

Exit codes: 0 done, 2 wrong use, 3 the registry or this machine.`,
		Example: `  wharf helper-image registry.example/wharf/helper:1 helper-amd64 helper-arm64
  wharf helper-image ` + kubernetes.DefaultHelperImage + ` helper-amd64 --output helper.tar
  kind load image-archive helper.tar`,
		Args: cobra.MinimumNArgs(2),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the image to a `file`, as \"docker save\" does, and push nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return helperImage(args[0], args[1:], output) }
	return cmd
}

func helperImage(as string, programs []string, output string) error {
	tag, err := name.NewTag(as, name.StrictValidation)
	if err != nil {
		return wrong(fmt.Errorf("%q: must be an image's name with a tag, such as registry.example/wharf/helper:1: %w", as, err))
	}
	images, err := helperimage.Make(programs)
	if err != nil {
		return wrong(err)
	}
	if output != "" && len(programs) != 1 {
		return wrong(errors.New("--output: a file holds the image of one architecture: give one program"))
	}
	if output != "" {
		if err := images.Save(output, tag); err != nil {
			return trouble(err)
		}
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	pushed, err := images.Push(ctx, tag)
	if err != nil {
		return interruptedOr(ctx, trouble(fmt.Errorf("push %s: %w", as, err)))
	}
	if _, err := fmt.Println(pushed); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}
