package tty

import (
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/wharfci/wharf/worker"
)

// Display shows a model on a terminal until it is closed. Its methods may be called by many goroutines at once.
type Display struct {
	out    *os.File
	look   Look
	failed func(error)

	mu    sync.Mutex
	model *Model

	screen  *Screen // used by run alone, and by Close after it
	restore func()
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// Start begins to show the model. It hides the cursor and stops the terminal from echoing what is typed; Close puts both back.
// If failed is not nil it is called, once, when the terminal cannot be written any more.
func Start(out *os.File, look Look, model *Model, failed func(error)) *Display {
	d := &Display{
		out: out, look: look, failed: failed, model: model, screen: NewScreen(out),
		restore: quiet(), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go d.run()
	return d
}

// Observe takes events in. They are shown with the next frame.
func (d *Display) Observe(events []worker.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.model.Apply(events)
}

// Notice shows a line to the person, such as what an interrupt did.
func (d *Display) Notice(words string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.model.Notice(words)
}

// Close ends the display and leaves the summary on the terminal. A second Close does nothing.
func (d *Display) Close() {
	d.once.Do(func() {
		close(d.stop)
		<-d.stopped
		width, _ := d.size()
		d.mu.Lock()
		summary := d.model.Summary(d.look, width-1, time.Now())
		d.mu.Unlock()
		d.screen.Finish(summary)
		d.restore()
	})
}

// run draws a frame ten times a second, as long as there is something that moves: the clock does all the time.
func (d *Display) run() {
	defer close(d.stopped)
	frames := time.NewTicker(turn)
	defer frames.Stop()
	resized, suspended, ignore := signals()
	defer ignore()
	for {
		if err := d.draw(); err != nil {
			if d.failed != nil {
				d.failed(err)
			}
			return
		}
		select {
		case <-d.stop:
			return
		case <-frames.C:
		case <-resized:
		case <-suspended:
			d.suspend()
		}
	}
}

func (d *Display) draw() error {
	width, height := d.size()
	d.mu.Lock()
	lines := d.model.View(d.look, width-1, height-1, time.Now())
	d.mu.Unlock()
	return d.screen.Draw(lines, width, height)
}

// suspend leaves the terminal in order, stops the process as the person asked for, and goes on when it is continued.
func (d *Display) suspend() {
	d.screen.Finish(nil)
	d.restore()
	stopSelf()
	d.restore = quiet()
}

// size returns the terminal's size. Some say 0 by 0; then it is the traditional one.
func (d *Display) size() (width, height int) {
	width, height, err := term.GetSize(int(d.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}
