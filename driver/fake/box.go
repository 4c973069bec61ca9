package fake

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wharfci/wharf/driver"
)

// box is a container of a task.
type box struct {
	task *task
	name string
	spec driver.Container
	img  *Image
	view *view
	env  []string

	mu    sync.Mutex
	main  *Proc
	procs map[*Proc]bool
	eaten int64
	oom   bool // some process was killed for want of memory
}

func (b *box) add(p *Proc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.procs[p] = true
}

func (b *box) drop(p *Proc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.procs, p)
	b.eaten -= p.eaten
}

// eat counts memory, and reports whether the limit allows it.
func (b *box) eat(p *Proc, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eaten += n
	p.eaten += n
	if limit := b.spec.Resources.Memory; limit > 0 && b.eaten > limit {
		b.oom = true
	}
	return !b.oom
}

// killAll ends every process of the container.
func (b *box) killAll() {
	b.mu.Lock()
	procs := slices.Collect(maps.Keys(b.procs))
	b.mu.Unlock()
	for _, p := range procs {
		p.signal(9)
	}
}

// signal sends a signal to the main process, if there is one.
func (b *box) signal(n int) {
	b.mu.Lock()
	main := b.main
	b.mu.Unlock()
	if main != nil {
		main.signal(n)
	}
}

// start starts the main process. The error is why it cannot be started, in the words of a runtime.
func (b *box) start() error {
	args := b.argv()
	p, err := b.process(args, nil, b.spec.Dir, b.spec.User)
	if err != nil {
		return err
	}
	if b.spec.Security.NonRoot && p.cred.uid == 0 {
		return errors.New("the container must not run as user 0")
	}
	j := &b.task.journal
	p.stdout = &sink{p, func(text []byte) error { j.write(origin{b.name, driver.Stdout}, text); return nil }}
	p.stderr = &sink{p, func(text []byte) error { j.write(origin{b.name, driver.Stderr}, text); return nil }}
	b.mu.Lock()
	b.main = p
	b.mu.Unlock()
	p.launch()
	go func() { // a container ends with its main process
		<-p.done
		b.killAll()
	}()
	return nil
}

// argv is the argument vector of the main process.
func (b *box) argv() []string {
	entry, args := b.img.Entrypoint, b.img.Cmd
	if b.spec.Entrypoint != nil {
		entry, args = b.spec.Entrypoint, nil
	}
	if b.spec.Args != nil {
		args = b.spec.Args
	}
	return slices.Concat(entry, args)
}

// process returns a process that is not yet launched and has no standard streams.
func (b *box) process(args []string, env map[string]string, dir, user string) (*Proc, error) {
	if len(args) == 0 {
		return nil, errors.New("no command specified")
	}
	p := newProc(b, args)
	p.env, p.dir = merge(b.env, env), dir
	if user == "" {
		user = b.img.User
	}
	if p.dir == "" {
		p.dir = b.img.Dir
	}
	if p.dir == "" {
		p.dir = "/"
	}
	b.view.disk.mu.Lock()
	defer b.view.disk.mu.Unlock()
	var home string
	var err error
	if p.cred, home, err = b.lookupUser(user); err != nil {
		return nil, err
	}
	p.env = merge([]string{"HOME=" + home}, nil, p.env...)
	at, err := b.view.mkdirAll(p.dir, 0o755)
	if err != nil {
		return nil, fmt.Errorf("chdir to %q: %w", p.dir, err)
	}
	p.dir = at.path
	p.uid = p.cred.uid
	var file *node
	if p.program, file, err = b.lookupProgram(p); err == nil && file != nil {
		b.setUID(p, file)
	}
	return p, err
}

// merge returns env with what is in the others added, or put in place of it.
func merge(env []string, more map[string]string, evenMore ...string) []string {
	out := slices.Clone(env)
	for _, name := range slices.Sorted(maps.Keys(more)) {
		evenMore = append(evenMore, name+"="+more[name])
	}
	for _, v := range evenMore {
		name, _, _ := strings.Cut(v, "=")
		out = slices.DeleteFunc(out, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		out = append(out, v)
	}
	return out
}

// lookupProgram finds the executable as execvp does, and the program that is registered for it. A program that is
// registered for the image, or under the name of the command itself, needs no file.
func (b *box) lookupProgram(p *Proc) (Program, *node, error) {
	name, programs := p.args[0], b.task.rt.cfg.Programs
	if prog := programs[b.spec.Image]; prog != nil {
		return prog, nil, nil
	}
	if prog := programs[name]; prog != nil && !path.IsAbs(name) {
		return prog, nil, nil
	}
	at, err := b.executable(p, name)
	if err == nil {
		if prog := programs[at.path]; prog != nil {
			return prog, at.node, nil
		}
	}
	if prog := programs[""]; prog != nil {
		return prog, nil, nil
	}
	if err == nil {
		err = errors.New("exec format error")
	}
	return nil, nil, fmt.Errorf("exec: %q: %w", name, err)
}

func (b *box) executable(p *Proc, name string) (place, error) {
	if strings.Contains(name, "/") {
		return b.checkExecutable(p, p.abs(name))
	}
	for _, v := range p.env {
		dirs, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(dirs, ":") {
			if file, err := b.checkExecutable(p, path.Join(dir, name)); err == nil {
				return file, nil
			}
		}
	}
	return place{}, errors.New("executable file not found in $PATH")
}

func (b *box) checkExecutable(p *Proc, file string) (place, error) {
	at, err := b.view.existing(file, true, p.cred)
	switch {
	case err != nil:
		return place{}, err
	case at.node.mode.IsDir():
		return place{}, errors.New("is a directory")
	case at.node.mode&0o111 == 0:
		return place{}, fs.ErrPermission
	}
	return at, nil
}

// setUID lets a set-uid program act as the owner of its file, if the container may gain privileges.
func (b *box) setUID(p *Proc, file *node) {
	if s := b.spec.Security; file.mode&fs.ModeSetuid != 0 && (s.AllowNewPrivileges || s.Privileged) {
		c := *p.cred
		c.uid, c.super = file.uid, file.uid == 0 && !s.DropAll
		p.cred = &c
	}
}

// lookupUser resolves "name", "uid", "name:group" and "uid:gid" with the container's own files.
func (b *box) lookupUser(user string) (*cred, string, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	c, home := &cred{}, "/"
	uid, err := strconv.Atoi(name)
	row := b.row("/etc/passwd", func(f []string) bool { return len(f) >= 6 && (f[0] == name || err == nil && f[2] == name) })
	switch {
	case row != nil:
		c.uid, _ = strconv.Atoi(row[2])
		c.gid, _ = strconv.Atoi(row[3])
		name, home = row[0], row[5]
	case err == nil && uid >= 0:
		c.uid = uid
	default:
		return nil, "", fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	if hasGroup {
		if c.gid, err = strconv.Atoi(group); err != nil {
			row := b.row("/etc/group", func(f []string) bool { return len(f) >= 3 && f[0] == group })
			if row == nil {
				return nil, "", fmt.Errorf("unable to find group %s: no matching entries in group file", group)
			}
			c.gid, _ = strconv.Atoi(row[2])
		}
	} else {
		b.row("/etc/group", func(f []string) bool {
			if len(f) >= 4 && slices.Contains(strings.Split(f[3], ","), name) {
				gid, _ := strconv.Atoi(f[2])
				c.groups = append(c.groups, gid)
			}
			return false
		})
	}
	c.super = c.uid == 0 && !b.spec.Security.DropAll
	return c, home, nil
}

// row returns the fields of the first line of a file that match accepts.
func (b *box) row(file string, match func([]string) bool) []string {
	at, err := b.view.existing(file, true, root)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(slices.Concat(at.node.data.pieces...))) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); match(f) {
			return f
		}
	}
	return nil
}
