package drivertest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

func files() []Case {
	const (
		in      = "CopyIn works before Start, while the task runs, and after its end until Remove. Owners, modes, modification times, symbolic and hard links are kept."
		out     = "CopyOut returns a file or directory as a tar stream; the first entry is the file or directory itself, under the last element of the path."
		volume  = "On a volume CopyIn and CopyOut work without any task, with the volume's root as \"/\"."
		below   = "On a task Path is an absolute path in the main container, volumes included."
		merge   = "Existing files are replaced; a directory stays and is merged."
		missing = "NotFound if task, volume, directory or path do not exist; FailedPrecondition if the path of CopyIn is no directory."
	)
	return group("files", []Case{
		{ID: "in-before-start", Contract: in, Run: inBeforeStart},
		{ID: "in-while-running", Contract: in, Run: inWhileRunning},
		{ID: "in-after-exit", Contract: in, Run: inAfterExit},
		{ID: "out-while-running", Contract: out, Run: outWhileRunning},
		{ID: "out-after-exit", Contract: out, Run: outAfterExit},
		{ID: "out-file", Contract: out, Run: outFile},
		{ID: "out-symlink", Contract: "CopyOut does not follow symbolic links.", Run: outSymlink},
		{ID: "merge", Contract: merge, Run: mergeFiles},
		{ID: "outside-links", Contract: "OutsideLinks admits symbolic links whose target is absolute or leads out of Path.", Run: outsideLinks},
		{ID: "large-in", Contract: in, Timeout: 5 * time.Minute, Run: largeIn},
		{ID: "large-out", Contract: out, Timeout: 5 * time.Minute, Run: largeOut},
		{ID: "many-in", Contract: in, Timeout: 5 * time.Minute, Run: manyIn},
		{ID: "many-out", Contract: out, Timeout: 5 * time.Minute, Run: manyOut},
		{ID: "sparse", Contract: "Sparse files keep their size.", Run: sparse},
		{ID: "missing", Contract: missing, Run: missingPaths},
		{ID: "unknown-place", Contract: missing, Run: unknownPlace},
		{ID: "not-a-directory", Contract: missing, Run: notADirectory},
		{ID: "volume", Contract: volume, Run: volumeAlone},
		{ID: "volume-in-use", Contract: "CopyIn and CopyOut work on a volume that a running task uses, and on a path of the task that is in a volume.", Run: volumeInUse},
		{ID: "above-a-mount-created", Contract: below, Run: func(e *Env) { aboveMount(e, driver.StateCreated) }},
		{ID: "above-a-mount-running", Contract: below, Run: func(e *Env) { aboveMount(e, driver.StateRunning) }},
		{ID: "above-a-mount-ended", Contract: below, Run: func(e *Env) { aboveMount(e, driver.StateEnded) }},
		{ID: "cancelled", Contract: "A call whose context ended returns an error that matches context.Cause of it.", Run: copyCancelled},
		{ID: "broken-stream", Contract: "CopyIn: InvalidArgument for a hostile or broken stream.", Run: brokenStream},
		{ID: "failing-stream", Contract: "An error of the caller's own stream is an error of CopyIn.", Run: failingStream},
		{ID: "hostile", Contract: "Names that leave the directory, absolute names, links that point out of it, and devices are refused as InvalidArgument.", Run: hostileStreams},
	}...)
}

// hostile are streams that must be refused. Each tries to leave its mark as /mark, or /etc.
var hostile = map[string][]file{
	"dotdot":              {regular("../mark", "x")},
	"dotdot-inside":       {{tar.Header{Name: "a/", Mode: 0o755}, ""}, regular("a/../../mark", "x")},
	"absolute":            {regular("/mark", "x")},
	"symlink-out":         {{tar.Header{Name: "mark", Typeflag: tar.TypeSymlink, Linkname: "../../mark"}, ""}},
	"symlink-abs":         {{tar.Header{Name: "mark", Typeflag: tar.TypeSymlink, Linkname: "/testprog"}, ""}},
	"hardlink-out":        {{tar.Header{Name: "mark", Typeflag: tar.TypeLink, Linkname: "../testprog"}, ""}},
	"hardlink-abs":        {{tar.Header{Name: "mark", Typeflag: tar.TypeLink, Linkname: "/testprog"}, ""}},
	"hardlink-to-symlink": {{tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "."}, ""}, {tar.Header{Name: "mark", Typeflag: tar.TypeLink, Linkname: "d"}, ""}},
	"below-a-symlink":     {{tar.Header{Name: "e", Typeflag: tar.TypeSymlink, Linkname: "."}, ""}, regular("e/mark", "x")},
	"character-device":    {{tar.Header{Name: "mark", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""}},
	"block-device":        {{tar.Header{Name: "mark", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}, ""}},
	"fifo":                {{tar.Header{Name: "mark", Typeflag: tar.TypeFifo, Mode: 0o666}, ""}},
}

// hostileStreams has all of them refused by one task and one volume: where a task is slow to make, one for each would take most of the group's time.
func hostileStreams(e *Env) {
	id := e.create(e.spec("exit", "0"))
	e.copyIn(onTask(id), "/", file{tar.Header{Name: "in/", Mode: 0o755}, ""})
	for _, place := range []driver.Place{onTask(id), onVolume(e.volume())} {
		dir := "/"
		if place.Task != "" {
			dir = "/in"
		}
		for _, name := range slices.Sorted(maps.Keys(hostile)) {
			err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: dir, Tar: tarOf(hostile[name]...)})
			e.wantError("CopyIn of the stream "+name, err, errdefs.ErrInvalidArgument)
		}
		e.absent(place, "/mark", errdefs.ErrNotFound)
		e.absent(place, path.Join(dir, "mark"), errdefs.ErrNotFound)
	}
}

func inBeforeStart(e *Env) {
	want := sample("in")
	id := e.create(e.spec("tree", "/in", ";", "cat", "/in/file", "/in/link"))
	e.copyIn(onTask(id), "/", want...)
	e.must("Start", e.d.Start(e.ctx, id))
	lines := e.output(id).stdout()
	if n := len(lines); n < 2 || lines[n-2] != `"content\n"` || lines[n-1] != `"deep"` {
		e.Fatalf("the task reads other content than was copied in:\n%s", strings.Join(lines, "\n"))
	}
	e.wantTree(lines[:len(lines)-2], want)
}

func inWhileRunning(e *Env) {
	want := sample("in")
	id, r := e.ready(e.spec("print", "ready", ";", "await", "/go", ";", "tree", "/in"))
	e.copyIn(onTask(id), "/", want...)
	e.signal(id, "/go")
	out, err := readAll(r)
	e.must("read the log", err)
	e.wantTree(out.stdout(), want)
}

func inAfterExit(e *Env) {
	id := e.start("exit", "0")
	e.wait(id)
	want := sample("in")
	e.copyIn(onTask(id), "/", want...)
	e.wantCopy(e.copyOut(onTask(id), "/in"), want)
}

func outWhileRunning(e *Env) {
	id, _ := e.ready(e.spec(append(made("/made"), ";", "print", "ready", ";", "await", "/go")...))
	e.wantCopy(e.copyOut(onTask(id), "/made"), sample("made"))
}

func outAfterExit(e *Env) {
	id := e.start(made("/made")...)
	e.wantExit(e.wait(id), 0)
	e.wantCopy(e.copyOut(onTask(id), "/made"), sample("made"))
}

func outFile(e *Env) {
	id := e.start(made("/made")...)
	e.wantExit(e.wait(id), 0)
	for _, name := range []string{"program", "empty", "größe-☃-日本", "with space  and 'quotes\""} {
		want := sample("made")
		i := slices.IndexFunc(want, func(f file) bool { return f.Name == "made/"+name })
		f := want[i]
		f.Name = name
		e.wantCopy(e.copyOut(onTask(id), "/made/"+name), []file{f})
	}
}

func outSymlink(e *Env) {
	id := e.start(made("/made")...)
	e.wantExit(e.wait(id), 0)
	got := e.copyOut(onTask(id), "/made/link")
	if len(got) != 1 || got[0].Typeflag != tar.TypeSymlink || got[0].Name != "link" || got[0].Linkname != "sticky/deep/file" {
		e.Errorf("CopyOut of a symbolic link returned %+v; want the link itself", got)
	}
}

func mergeFiles(e *Env) {
	id := e.create(e.spec("cat", "/d/old", "/d/both", "/d/new"))
	dir := file{tar.Header{Name: "d/", Mode: 0o755}, ""}
	e.copyIn(onTask(id), "/", dir, regular("d/old", "old"), regular("d/both", "first, and longer"))
	e.copyIn(onTask(id), "/", dir, regular("d/both", "second"), regular("d/new", "new"))
	e.must("Start", e.d.Start(e.ctx, id))
	if lines := e.output(id).stdout(); !slices.Equal(lines, []string{`"old"`, `"second"`, `"new"`}) {
		e.Errorf("after two copies the files hold %s", lines)
	}
}

func outsideLinks(e *Env) {
	id := e.create(e.spec("exit", "0"))
	want := []file{
		{tar.Header{Name: "d/", Mode: 0o755, ModTime: stamp}, ""},
		{tar.Header{Name: "d/abs", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Mode: 0o777, ModTime: stamp}, ""},
		{tar.Header{Name: "d/out", Typeflag: tar.TypeSymlink, Linkname: "../../out", Mode: 0o777, ModTime: stamp}, ""},
	}
	e.must("CopyIn", e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: tarOf(want...), OutsideLinks: true}))
	e.wantCopy(e.copyOut(onTask(id), "/d"), want)
	through := tarOf(want[0], want[1], regular("d/abs/mark", "x"))
	err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: through, OutsideLinks: true})
	e.wantError("CopyIn that writes through a link of the stream", err, errdefs.ErrInvalidArgument)
}

// largeSize is the size of the large file, and its seed.
const largeSize, largeSeed = 256 << 20, 42

// tarStream returns a tar stream of one file of any size, made while it is read.
func tarStream(h tar.Header, content io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		err := out.WriteHeader(&h)
		if err == nil {
			_, err = io.Copy(out, content)
		}
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

func largeIn(e *Env) {
	id := e.create(e.spec("check", "/large", fmt.Sprint(largeSize), fmt.Sprint(largeSeed)))
	stream := tarStream(tar.Header{Name: "large", Mode: 0o644, Size: largeSize}, testprog.Content(largeSize, largeSeed))
	defer stream.Close()
	e.must("CopyIn", e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: stream}))
	e.must("Start", e.d.Start(e.ctx, id))
	if res := e.wait(id); !res.Succeeded() {
		e.Errorf("the task that checks the large file %v\n%s", res, e.output(id))
	}
}

func largeOut(e *Env) {
	id := e.start("write", "/large", fmt.Sprint(largeSize), fmt.Sprint(largeSeed))
	e.wantExit(e.wait(id), 0)
	began := time.Now()
	r, err := e.d.CopyOut(e.ctx, driver.CopyOutOptions{Place: onTask(id), Path: "/large"})
	e.must("CopyOut", err)
	defer r.Close()
	in := tar.NewReader(r)
	h, err := in.Next()
	e.must("read the first entry", err)
	if h.Name != "large" || h.Size != largeSize {
		e.Errorf("the entry is %q with %d bytes", h.Name, h.Size)
	}
	e.must("compare the content", testprog.SameContent(in, largeSize, largeSeed))
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		e.Errorf("after the file: %v; want io.EOF", err)
	}
	e.Notef("256 MiB out in %s", time.Since(began).Round(time.Millisecond))
}

const manyFiles = 10_000

func manyIn(e *Env) {
	entries := []file{{tar.Header{Name: "many/", Mode: 0o755}, ""}}
	for i := range 100 {
		entries = append(entries, file{tar.Header{Name: fmt.Sprintf("many/%d/", i), Mode: 0o755}, ""})
	}
	for i := range manyFiles {
		var content strings.Builder
		io.Copy(&content, testprog.Content(testprog.ManySize(i), uint64(i)))
		entries = append(entries, regular("many/"+testprog.ManyName(i), content.String()))
	}
	id := e.create(e.spec("check-many", "/many", fmt.Sprint(manyFiles)))
	e.copyIn(onTask(id), "/", entries...)
	e.must("Start", e.d.Start(e.ctx, id))
	if res := e.wait(id); !res.Succeeded() {
		e.Errorf("the task that checks the files %v\n%s", res, e.output(id))
	}
}

func manyOut(e *Env) {
	id := e.start("mkdir", "/many", "0o755", ";", "many", "/many", fmt.Sprint(manyFiles))
	e.wantExit(e.wait(id), 0)
	got := map[string]string{}
	for _, f := range e.copyOut(onTask(id), "/many") {
		if f.Typeflag == tar.TypeReg {
			got[f.Name] = f.content
		}
	}
	if len(got) != manyFiles {
		e.Errorf("the stream has %d files; want %d", len(got), manyFiles)
	}
	for i := range manyFiles {
		name := "many/" + testprog.ManyName(i)
		if err := testprog.SameContent(strings.NewReader(got[name]), testprog.ManySize(i), uint64(i)); err != nil {
			e.Fatalf("%s: %v", name, err)
		}
	}
}

func sparse(e *Env) {
	const size, data = 8 << 20, "at the end"
	id := e.create(e.spec("stat", "/sparse"))
	e.must("CopyIn", e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: sparseTar("sparse", size, data)}))
	got := e.copyOut(onTask(id), "/sparse")
	if want := strings.Repeat("\x00", size-len(data)) + data; len(got) != 1 || got[0].content != want {
		e.Errorf("the sparse file came back as %d entries, %d bytes; want one of %d, with zeros and then %q", len(got), len(got[0].content), size, data)
	}
	e.must("Start", e.d.Start(e.ctx, id))
	if lines := e.output(id).stdout(); len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf(" %d 1 ", size)) {
		e.Errorf("the task sees %q; want a file of %d bytes", lines, size)
	}
}

// sparseTar writes a file with the old GNU sparse header, which package archive/tar reads but does not write: zeros, and
// data at the end.
func sparseTar(name string, size int64, data string) io.Reader {
	h := make([]byte, 512)
	copy(h, name)
	octal := func(at, width int, n int64) { copy(h[at:], fmt.Sprintf("%0*o\x00", width-1, n)) }
	octal(100, 8, 0o644)
	octal(108, 8, 0)
	octal(116, 8, 0)
	octal(124, 12, int64(len(data)))
	octal(136, 12, stamp.Unix())
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	octal(386, 12, size-int64(len(data)))
	octal(398, 12, int64(len(data)))
	octal(483, 12, size)
	copy(h[148:], "        ")
	var sum int64
	for _, b := range h {
		sum += int64(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	content := make([]byte, 512+1024) // padded to a block, and the end of the archive
	copy(content, data)
	return io.MultiReader(strings.NewReader(string(h)), strings.NewReader(string(content)))
}

func missingPaths(e *Env) {
	id, vol := e.create(e.spec("exit", "0")), e.volume()
	for _, place := range []driver.Place{onTask(id), onVolume(vol)} {
		for _, p := range []string{"/no-such-file", "/no/such/file"} {
			e.absent(place, p, errdefs.ErrNotFound)
			err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: p, Tar: tarOf(regular("x", "x"))})
			e.wantError("CopyIn into a directory that does not exist", err, errdefs.ErrNotFound)
		}
	}
}

func unknownPlace(e *Env) {
	id, vol := e.create(e.spec("exit", "0")), e.volume()
	e.must("Remove", e.d.Remove(e.ctx, id))
	e.must("RemoveVolume", e.d.RemoveVolume(e.ctx, vol))
	for place, class := range map[driver.Place]error{
		onTask(id):              errdefs.ErrNotFound,
		onVolume(vol):           errdefs.ErrNotFound,
		{}:                      errdefs.ErrInvalidArgument,
		{Task: id, Volume: vol}: errdefs.ErrInvalidArgument,
	} {
		e.absent(place, "/", class)
		err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: "/", Tar: tarOf(regular("x", "x"))})
		e.wantError(fmt.Sprintf("CopyIn to %+v", place), err, class)
	}
}

func notADirectory(e *Env) {
	id, vol := e.create(e.spec("exit", "0")), e.volume()
	for _, place := range []driver.Place{onTask(id), onVolume(vol)} {
		e.copyIn(place, "/", regular("file", "x"))
		err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: "/file", Tar: tarOf(regular("x", "x"))})
		e.wantError("CopyIn into a file", err, errdefs.ErrFailedPrecondition)
		err = e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: "relative", Tar: tarOf(regular("x", "x"))})
		e.wantError("CopyIn with a relative path", err, errdefs.ErrInvalidArgument)
	}
}

func volumeAlone(e *Env) {
	vol := e.volume()
	want := sample("in")
	e.copyIn(onVolume(vol), "/", want...)
	e.wantCopy(e.copyOut(onVolume(vol), "/in"), want)
	e.copyIn(onVolume(vol), "/in/sticky", regular("added", "x"))
	if got := e.copyOut(onVolume(vol), "/in/sticky/added"); len(got) != 1 || got[0].Name != "added" || got[0].content != "x" {
		e.Errorf("the file that was added came back as %+v", got)
	}
	spec := e.spec("tree", "/v/in")
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v"}}
	if lines := e.succeed(spec).stdout(); !slices.Contains(lines, `"sticky/deep/file" file 0644 0:0 4 1 1234567890000000000 ""`) {
		e.Errorf("a task that mounts the volume sees\n%s", strings.Join(lines, "\n"))
	}
}

func volumeInUse(e *Env) {
	vol := e.volume()
	spec := e.spec("put", "/v/from-task", "text", ";", "print", "ready", ";", "await", "/v/go", ";", "cat", "/v/given")
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/v"}}
	id, r := e.ready(spec)
	for place, p := range map[driver.Place]string{onVolume(vol): "/from-task", onTask(id): "/v/from-task"} {
		if got := e.copyOut(place, p); len(got) != 1 || got[0].content != "text" {
			e.Errorf("CopyOut of %s from %+v returned %+v", p, place, got)
		}
	}
	e.copyIn(onTask(id), "/v", regular("by-task", "1"))
	e.copyIn(onVolume(vol), "/", regular("given", "started"), regular("go", "")) // in this order
	out, err := readAll(r)
	e.must("read the log", err)
	if lines := out.stdout(); !slices.Equal(lines, []string{`"started"`}) {
		e.Errorf("the task read %s from what was copied into its volume", lines)
	}
	if got := e.copyOut(onTask(id), "/v/by-task"); len(got) != 1 || got[0].content != "1" {
		e.Errorf("after the task's end, CopyOut from its volume returned %+v", got)
	}
}

func copyCancelled(e *Env) {
	id := e.create(e.spec("exit", "0"))
	cause := errors.New("the case's own reason")
	ctx, cancel := contextWithCause(e)
	stream, w := io.Pipe() // a stream that never ends
	defer w.Close()
	failed := make(chan error, 1)
	go func() { failed <- e.d.CopyIn(ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: stream}) }()
	cancel(cause)
	e.wantError("CopyIn that was cancelled", receive(e, "the cancelled CopyIn", failed), cause)
}

func brokenStream(e *Env) {
	id := e.create(e.spec("exit", "0"))
	whole, err := io.ReadAll(tarOf(regular("file", strings.Repeat("content ", 1000))))
	e.must("make a stream", err)
	for what, stream := range map[string]string{
		"text":      strings.Repeat("this is no tar stream\n", 100),
		"truncated": string(whole[:3000]),
	} {
		err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: strings.NewReader(stream)})
		e.wantError("CopyIn of a stream that is "+what, err, errdefs.ErrInvalidArgument)
	}
}

func failingStream(e *Env) {
	id := e.create(e.spec("exit", "0"))
	whole, err := io.ReadAll(tarOf(regular("file", strings.Repeat("content ", 1000))))
	e.must("make a stream", err)
	own := errors.New("the caller's own trouble")
	r, w := io.Pipe()
	go func() {
		w.Write(whole[:3000])
		w.CloseWithError(own)
	}()
	err = e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: onTask(id), Path: "/", Tar: r})
	e.wantError("CopyIn of a stream that fails", err, own)
}
