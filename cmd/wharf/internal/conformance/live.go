package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/cmd/wharf/internal/tty"
	"github.com/wharfci/wharf/driver/drivertest"
)

// live shows on a terminal how far the run is and what runs just now, and above that, for good, what failed.
type live struct {
	run    Run
	out    *os.File
	screen *tty.Screen

	mu      sync.Mutex
	running []started
	done    int
	failed  int
	stay    []string // lines that the next frame leaves above itself
	notice  string
	err     error

	stop, stopped chan struct{}
}

type started struct {
	id string
	at time.Time
}

// Live is a [Printer] that also takes words for the person.
type Live interface {
	Printer
	Notice(words string)
}

// NewLive returns a Printer that draws on a terminal until End.
func NewLive(out *os.File, run Run) Live {
	l := &live{run: run, out: out, screen: tty.NewScreen(out), stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.draw()
	return l
}

func (l *live) Begin(c drivertest.Case) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = append(l.running, started{c.ID, time.Now()})
}

func (l *live) Observe(r drivertest.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = slices.DeleteFunc(l.running, func(s started) bool { return s.id == r.ID })
	l.done++
	if !r.Passed() {
		l.failed++
		l.stay = append(l.stay, failedLines(r)...)
	}
}

// Notice shows a line to the person until the end.
func (l *live) Notice(words string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notice = words
}

func (l *live) End(reports []drivertest.Report, interrupted bool) error {
	close(l.stop)
	<-l.stopped
	if err := l.screen.Finish(append(l.stay, l.run.summary(reports, interrupted)...)); l.err == nil {
		l.err = err
	}
	return l.err
}

func (l *live) draw() {
	defer close(l.stopped)
	frames := time.NewTicker(100 * time.Millisecond)
	defer frames.Stop()
	for l.frame() == nil {
		select {
		case <-l.stop:
			return
		case <-frames.C:
		}
	}
	<-l.stop
}

func (l *live) frame() error {
	width, height, err := term.GetSize(int(l.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	l.mu.Lock()
	stay := l.stay
	l.stay = nil
	lines := l.lines(time.Now(), width-1, height-1)
	l.mu.Unlock()
	if len(stay) > 0 {
		err = l.screen.Finish(stay)
	} else {
		err = nil
	}
	if err == nil {
		err = l.screen.Draw(lines, width, height)
	}
	l.err = err
	return err
}

// lines are the frame: the counts, and the cases that run, longest first.
func (l *live) lines(now time.Time, width, height int) []string {
	head := fmt.Sprintf("%d of %d rules looked at, %d do not hold; %s on %s", min(l.done, len(l.run.Cases)), len(l.run.Cases), l.failed,
		text.Duration(now.Sub(l.run.Began)), l.run.Runtime)
	lines := []string{head}
	if l.notice != "" {
		lines = append(lines, l.notice)
	}
	for _, s := range l.running {
		lines = append(lines, fmt.Sprintf("  %-44s %s", s.id, text.Duration(now.Sub(s.at))))
	}
	if l.done >= len(l.run.Cases) && len(l.running) == 0 {
		lines = append(lines, "  is anything left?")
	}
	lines = lines[:min(len(lines), max(height, 1))]
	for i := range lines {
		lines[i] = text.Truncate(strings.TrimRight(lines[i], " "), width, "...")
	}
	return lines
}
