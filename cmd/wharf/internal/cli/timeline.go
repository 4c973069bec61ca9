package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wharfci/wharf/cmd/wharf/internal/timeline"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

func newTimeline() *cobra.Command {
	var t targeted
	var output *choice
	var file string
	cmd := &cobra.Command{
		Use:   "timeline [build]",
		Short: "Draw where the time of a build went",
		Long: `Draws, for each step, how long it waited for room (queue) and for its image (pull),
was made (create) and started (start), ran (run), and was copied from (copy). What
is made ahead, while earlier steps run, stands where it happened.

` + whichBuild,
		Example: `  wharf timeline
  wharf timeline 06hn2 --output html --file timeline.html`,
		Args: cobra.MaximumNArgs(1),
	}
	t.addTo(cmd)
	output = outputFlag(cmd, "terminal", "svg", "html")
	cmd.Flags().StringVar(&file, "file", "", "write to this `file`, rather than to standard output")
	cmd.RunE = interruptible(func(ctx context.Context, args []string) error {
		drawn, err := t.timeline(ctx, args)
		if err != nil {
			return err
		}
		return draw(drawn, output.value, file)
	})
	return cmd
}

// timeline reads a build.
func (t *targeted) timeline(ctx context.Context, args []string) (timeline.Timeline, error) {
	found, err := t.open(ctx, args)
	if err != nil {
		return timeline.Timeline{}, err
	}
	defer found.Close()
	plan, err := found.Plan(ctx)
	if err != nil {
		return timeline.Timeline{}, unreadable(err)
	}
	b, err := found.Build(ctx)
	if err != nil {
		return timeline.Timeline{}, unreadable(err)
	}
	g := timeline.NewGather(b.ID, plan)
	for e, err := range found.Events(ctx, client.ReadOptions{WithoutLogs: true}) {
		if err != nil {
			return timeline.Timeline{}, unreadable(err)
		}
		g.Add(e)
	}
	if found.Served() && !b.State.Final() {
		g.Add(journal.Event{Time: time.Now()}) // what runs does so until now
	}
	return g.Timeline(), nil
}

// draw writes a timeline to a file, or to standard output.
func draw(t timeline.Timeline, output, path string) error {
	var to io.Writer = os.Stdout
	if path != "" {
		f, err := os.Create(path)
		if err != nil {
			return trouble(err)
		}
		defer f.Close()
		to = f
	}
	var err error
	switch output {
	case "svg":
		err = t.SVG(to)
	case "html":
		err = t.HTML(to)
	default:
		err = t.Terminal(to, terminalLook())
	}
	if err != nil && !readerGone(err) {
		return trouble(fmt.Errorf("the timeline cannot be written: %w", err))
	}
	return nil
}

// terminalLook is how standard output is drawn on.
func terminalLook() timeline.Look {
	t := newTerminal(os.Stdout, os.Getenv)
	l := timeline.Look{Width: 100, Colour: t.colour, Unicode: t.look.Unicode}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && width > 0 {
		l.Width = width
	}
	return l
}
