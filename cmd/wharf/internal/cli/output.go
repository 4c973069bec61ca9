package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/wharfci/wharf/cmd/wharf/internal/jsonout"
	"github.com/wharfci/wharf/cmd/wharf/internal/outlet"
	"github.com/wharfci/wharf/cmd/wharf/internal/plain"
	"github.com/wharfci/wharf/cmd/wharf/internal/tty"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

// display is one way to show a build.
type display struct {
	observe func([]worker.Event)
	// notice tells a person of something at once.
	notice func(string)
	// close ends the display. The error is the first one of its output.
	close func() error
	// tells says that the person sees how the build ended.
	tells bool
}

// showing is what a display needs to know of a build.
type showing struct {
	plan    *pipeline.Plan
	id      string
	driver  string // name or URL
	runtime string
	results string
	// failed is called once when the output cannot be written any more.
	failed func(error)
}

// terminal is what the environment says about standard output.
type terminal struct {
	is     bool // it is a terminal that can move its cursor
	ci     bool
	colour bool
	look   tty.Look
}

func newTerminal(out *os.File, getenv func(string) string) terminal {
	kind := getenv("TERM")
	is := term.IsTerminal(int(out.Fd())) && kind != "dumb" && (kind != "" || runtime.GOOS == "windows")
	ci := getenv("CI") != "" && getenv("CI") != "false" && getenv("CI") != "0"
	t := terminal{is: is, ci: ci}
	none := getenv("NO_COLOR") != "" || kind == "dumb"
	t.colour = !none && (is || ci || getenv("FORCE_COLOR") != "")
	t.look = tty.Look{Colour: t.colour, Unicode: unicode(getenv)}
	return t
}

// unicode reports whether the locale's characters are those of Unicode.
func unicode(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows"
}

// newDisplay returns the display of a name: auto, tty, plain or json.
func newDisplay(name string, t terminal, s showing) *display {
	if name == "auto" {
		name = "plain"
		if t.is && !t.ci && runtime.GOOS != "windows" {
			name = "tty"
		}
	}
	switch name {
	case "tty":
		return ttyDisplay(t, s)
	case "json":
		return jsonDisplay(s)
	}
	return plainDisplay(t, s)
}

func ttyDisplay(t terminal, s showing) *display {
	d := tty.Start(os.Stdout, t.look, tty.NewModel(s.plan, fmt.Sprintf("build %s on %s", s.id, s.runtime)), s.failed)
	return &display{observe: d.Observe, notice: d.Notice, close: func() error { d.Close(); return nil }, tells: true}
}

func plainDisplay(t terminal, s showing) *display {
	out := outlet.New(os.Stdout, s.failed)
	p := plain.New(out, s.plan, t.colour)
	return &display{observe: p.Observe, notice: toStderr, close: func() error { p.Close(); return out.Close() }, tells: t.is}
}

func jsonDisplay(s showing) *display {
	out := outlet.New(os.Stdout, s.failed)
	p := jsonout.New(out, s.plan)
	p.Start(jsonout.Start{ID: s.id, Driver: s.driver, Runtime: s.runtime, Results: s.results, Time: time.Now()})
	return &display{observe: p.Observe, notice: toStderr, close: out.Close}
}

func toStderr(words string) { warn(os.Stderr, "%s", words) }

// readerGone reports whether an error means that whoever read the output has gone.
func readerGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EIO)
}
