package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/builds"
	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/lease"
)

func newGC() *cobra.Command {
	var opts lease.Options
	var name string
	var caches bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what builds that died have left behind",
		Long: `Removes the containers, networks and volumes of builds of this user on this
machine whose process has died, and old results. Builds that run, caches, and
what others made are left alone. Each run does the same by itself.

Caches stay until --caches removes them, all of them.`,
		Example: `  wharf gc --dry-run
  wharf gc --kept               also what "wharf run --keep" kept
  wharf gc --caches --dry-run   also list the caches`,
		Args: cobra.NoArgs,
	}
	driverFlag(cmd, &name)
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "only show what would be removed")
	cmd.Flags().BoolVar(&opts.Kept, "kept", false, "also remove what a run was told to keep")
	cmd.Flags().BoolVar(&caches, "caches", false, "also remove the caches of all projects that no build uses now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return collect(cmd.Context(), name, opts, caches)
	}
	return cmd
}

// driverFlag adds --driver, whose default is $WHARF_DRIVER.
func driverFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "driver", "d", "", "the container runtime: a name, or a `URL` such as docker:///path/to.sock (default: $WHARF_DRIVER, or auto)")
	complete(cmd, "driver", func(*cobra.Command, string) []string { return drivers.Names() })
}

// openDriver opens the driver that the flag or WHARF_DRIVER names.
func openDriver(ctx context.Context, name string) (*drivers.Opened, error) {
	return openWith(ctx, name, drivers.Open)
}

// openWith is openDriver by another way to open it.
func openWith[T any](ctx context.Context, name string, open func(context.Context, string) (*T, error)) (*T, error) {
	if name == "" {
		name = os.Getenv("WHARF_DRIVER")
	}
	o, err := open(ctx, name)
	var u *drivers.UsageError
	if errors.As(err, &u) {
		return nil, wrong(err)
	}
	if err != nil {
		return nil, trouble(err)
	}
	return o, nil
}

func collect(ctx context.Context, name string, opts lease.Options, caches bool) error {
	store, err := builds.Open()
	if err != nil {
		return trouble(err)
	}
	o, err := openDriver(ctx, name)
	if err != nil {
		return err
	}
	defer o.Driver.Close()
	verb := "removed"
	if opts.DryRun {
		verb = "would remove"
	}
	removed, err := lease.Collect(ctx, o.Driver, opts)
	for _, r := range removed {
		fmt.Printf("%s %s %s of build %s, %s old\n", verb, r.Kind, r.Name, r.Build, text.Duration(time.Since(r.Created)))
	}
	n := 0
	var cacheErr error
	if caches {
		n, cacheErr = collectCaches(ctx, o.Driver, verb, opts.DryRun)
	}
	old, storeErr := store.PruneAll(ctx, opts.DryRun)
	for _, dir := range old {
		fmt.Printf("%s results %s\n", verb, dir)
	}
	if err := errors.Join(err, cacheErr, storeErr); err != nil {
		return trouble(err)
	}
	if len(removed)+len(old)+n == 0 {
		fmt.Println("nothing to remove")
	}
	return nil
}

// collectCaches removes the caches that the runtime holds for this owner, and returns how many.
func collectCaches(ctx context.Context, d driver.Driver, verb string, dryRun bool) (n int, err error) {
	volumes, err := d.ListVolumes(ctx, driver.ListOptions{})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, v := range volumes {
		key, is := v.Labels[worker.LabelCache]
		if !is {
			continue
		}
		if !dryRun {
			err := d.RemoveVolume(ctx, v.ID)
			if errdefs.IsFailedPrecondition(err) { // a build uses it
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("cache %s of %s: %w", key, projectOf(v), err))
				continue
			}
		}
		n++
		size := ""
		if v.Used >= 0 {
			size = ", " + text.Bytes(v.Used)
		}
		fmt.Printf("%s cache %s of %s, made %s ago%s\n", verb, text.Line(key), projectOf(v), text.Duration(time.Since(v.Created)), size)
	}
	return n, errors.Join(errs...)
}

// projectOf names the project that a cache belongs to.
func projectOf(v driver.Volume) string {
	if project := v.Labels[worker.LabelProject]; project != "" {
		return text.Line(project)
	}
	return "an unknown project"
}
