package fake

import (
	"context"
	"fmt"
	"io"
	"path"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Program is what a process runs. It returns the exit code, 0 to 255. Its context ends when the process is
// killed.
type Program func(ctx context.Context, p *Proc) int

// Proc is what a program sees of its container. Its methods may be called by many goroutines; when the
// process has ended, they do not return, but end the goroutine that called them.
type Proc struct {
	c      *box
	args   []string
	env    []string
	dir    string
	cred   *cred
	uid    int // the real one
	stdin  io.Reader
	stdout *sink
	stderr *sink

	program Program
	done    chan struct{}
	ctx     context.Context // ends with the process
	kill    context.CancelFunc
	mu      sync.Mutex
	signals chan int // nil until the program asks for it
	eaten   int64
	exit    exit
}

// exit is how a process ended.
type exit struct {
	code, signal int
}

// shell is the number that a shell would show.
func (e exit) shell() int {
	if e.signal != 0 {
		return 128 + e.signal
	}
	return e.code
}

func newProc(c *box, args []string) *Proc {
	p := &Proc{c: c, args: args, done: make(chan struct{})}
	p.ctx, p.kill = context.WithCancel(context.Background())
	return p
}

// launch runs the program of a process that is complete.
func (p *Proc) launch() {
	p.c.add(p)
	go func() { p.finish(exit{code: p.program(p.ctx, p) & 0xff}) }()
}

// finish ends the process; the first call says how.
func (p *Proc) finish(how exit) {
	p.mu.Lock()
	select {
	case <-p.done:
		p.mu.Unlock()
		return
	default:
	}
	p.exit = how
	close(p.done)
	if p.signals != nil {
		close(p.signals) // a program that waits for one goes on, and ends at its next call
	}
	p.mu.Unlock()
	p.kill()
	p.c.drop(p)
}

// signal delivers a signal: KILL always ends the process, others as long as it does not catch them.
func (p *Proc) signal(n int) {
	p.mu.Lock()
	if n == 9 || p.signals == nil {
		p.mu.Unlock()
		p.finish(exit{signal: n})
		return
	}
	defer p.mu.Unlock()
	select {
	case <-p.done: // the channel is closed
		return
	default:
	}
	select {
	case p.signals <- n:
	default: // as the kernel does not queue a signal that is pending
	}
}

// check ends the goroutine if the process has ended.
func (p *Proc) check() {
	select {
	case <-p.done:
		runtime.Goexit()
	default:
	}
}

// Args is the whole argument vector.
func (p *Proc) Args() []string { return p.args }

// Environ is the environment, "NAME=value" each.
func (p *Proc) Environ() []string { return p.env }

// Stdin is what an Exec was given; the main process of a container has none.
func (p *Proc) Stdin() io.Reader { return p.stdin }

// Stdout is the standard output.
func (p *Proc) Stdout() io.Writer { return p.stdout }

// Stderr is the standard error.
func (p *Proc) Stderr() io.Writer { return p.stderr }

// Getwd returns the working directory.
func (p *Proc) Getwd() (string, error) { return p.dir, nil }

// Hostname returns the host name of the task.
func (p *Proc) Hostname() (string, error) { return p.c.task.hostname(), nil }

// IDs are the user, the group, and the further groups.
func (p *Proc) IDs() (uid, gid int, groups []int) { return p.uid, p.cred.gid, p.cred.groups }

// EUID is the user that the process acts as.
func (p *Proc) EUID() int { return p.cred.uid }

// Now is the runtime's clock.
func (p *Proc) Now() time.Time { return p.c.task.rt.now() }

// Signals catches signals from the first call on; before that, any of them ends the process.
func (p *Proc) Signals() <-chan int {
	p.check()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signals == nil {
		p.signals = make(chan int, 16)
		select {
		case <-p.done:
			close(p.signals)
		default:
		}
	}
	return p.signals
}

// Kill ends the process by signal 9.
func (p *Proc) Kill() {
	p.finish(exit{signal: 9})
	runtime.Goexit()
}

// Pause blocks until the process is killed.
func (p *Proc) Pause() {
	<-p.done
	runtime.Goexit()
}

// Eat uses up n bytes of the container's memory. Beyond the limit, the process is killed.
func (p *Proc) Eat(n int64) {
	p.check()
	if !p.c.eat(p, n) {
		p.Kill()
	}
}

// Linger blocks for that long.
func (p *Proc) Linger(d time.Duration) {
	p.check()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
		runtime.Goexit()
	}
}

// Burn blocks for that long, and returns the processor time that a process would get which keeps one processor busy.
func (p *Proc) Burn(d time.Duration) time.Duration {
	p.Linger(d)
	if limit := p.c.spec.Resources.CPU; limit > 0 {
		return min(d, d*time.Duration(limit)/1000)
	}
	return d
}

// Capabilities are those in effect, a bit each, as Linux numbers them.
func (p *Proc) Capabilities() (uint64, error) {
	p.check()
	if p.cred.uid != 0 {
		return 0, nil
	}
	return capabilities(p.c.spec.Security), nil
}

// Spawn starts the program again as a child. The function that it returns waits for the child.
func (p *Proc) Spawn(args ...string) (wait func() int, err error) {
	p.check()
	if !p.c.room() {
		return nil, fmt.Errorf("fork %s: %w", p.args[0], syscall.EAGAIN)
	}
	child := newProc(p.c, append([]string{p.args[0]}, args...))
	child.env, child.dir, child.cred, child.uid, child.program = p.env, p.dir, p.cred, p.uid, p.program
	child.stdout, child.stderr = &sink{child, p.stdout.w}, &sink{child, p.stderr.w}
	child.launch()
	return func() int {
		select {
		case <-child.done:
			return child.exit.shell()
		case <-p.done:
			runtime.Goexit()
			return -1
		}
	}, nil
}

// abs makes a path absolute.
func (p *Proc) abs(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return p.dir + "/" + name
}
