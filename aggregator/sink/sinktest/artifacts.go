package sinktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing/iotest"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

func artifacts() []Case {
	const (
		whole = "PutArtifact stores an artifact: all of what Open reads, or nothing."
		once  = "PutArtifact stores an artifact, unless the sink has one of this name."
	)
	return group("artifacts",
		Case{ID: "content", Contract: whole, Run: content},
		Case{ID: "empty", Contract: whole, Run: emptyFile},
		Case{ID: "large", Contract: whole, Run: largeFile},
		Case{ID: "in-bits", Contract: whole, Run: inBits},
		Case{ID: "twice", Contract: once, Run: putTwice},
		Case{ID: "twice-by-another", Contract: once, Run: putTwiceByAnother},
		Case{ID: "names", Contract: "Name is a file name without directories.", Run: names},
		Case{ID: "failing-source", Contract: whole, Run: failingSource},
		Case{ID: "failing-open", Contract: whole, Run: failingOpen},
		Case{ID: "short-source", Contract: "Size is in bytes: a source that has less is an error, and nothing is stored.", Run: shortSource},
		Case{ID: "long-source", Contract: "Size is in bytes: a source that has more is an error, and nothing is stored.", Run: longSource},
		Case{ID: "closed", Contract: "What Open returns is closed before PutArtifact returns.", Run: closed},
		Case{ID: "test-results", Contract: "TestResults says that it is a file of test results, which is stored as all others are.", Run: testResults},
		Case{ID: "beside-lines", Contract: "PutArtifact may run beside Append, Commit and Lines.", Run: besideLines},
	)
}

// file makes an artifact.
func file(name string, content []byte) sink.Artifact {
	sum := sha256.Sum256(content)
	return sink.Artifact{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// reading makes an artifact out of what another source has than its size tells.
func reading(name string, size int, source func() io.Reader) sink.Artifact {
	a := file(name, pattern(size))
	a.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(source()), nil }
	return a
}

// pattern makes bytes of every value that do not repeat soon.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// files wants the store to have these files of a build, in any order.
func (e *Env) files(id uint64, want ...File) {
	left := slices.Clone(e.read(id).Files)
	for _, w := range want {
		i := slices.IndexFunc(left, func(f File) bool { return f.Name == w.Name })
		switch {
		case i < 0:
			e.Errorf("there is no file %q", w.Name)
			continue
		case !bytes.Equal(left[i].Content, w.Content):
			e.Errorf("the file %q has %d bytes, and not the %d that were put", w.Name, len(left[i].Content), len(w.Content))
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, f := range left {
		e.Errorf("there is a file %q of %d bytes that was not to be stored", f.Name, len(f.Content))
	}
}

func content(e *Env) {
	id := e.build()
	r := e.open(id, true)
	var want []File
	for _, n := range []int{1, 2, 100, 4095, 4096, 4097, 32 << 10, 64<<10 + 1, 1<<20 - 1} {
		f := File{fmt.Sprintf("%d.bin", n), pattern(n)}
		e.must("PutArtifact", r.PutArtifact(e.ctx, file(f.Name, f.Content)))
		want = append(want, f)
	}
	e.files(id, want...)
}

func emptyFile(e *Env) {
	id := e.build()
	e.must("PutArtifact", e.open(id, true).PutArtifact(e.ctx, file("empty", nil)))
	e.files(id, File{"empty", nil})
}

func largeFile(e *Env) {
	id := e.build()
	large := pattern(10 << 20)
	e.must("PutArtifact", e.open(id, true).PutArtifact(e.ctx, file("large", large)))
	e.files(id, File{"large", large})
}

func inBits(e *Env) {
	id := e.build()
	r := e.open(id, true)
	bits := pattern(10_000)
	e.must("PutArtifact by the byte", r.PutArtifact(e.ctx, reading("one", len(bits), func() io.Reader { return iotest.OneByteReader(bytes.NewReader(bits)) })))
	e.must("PutArtifact with the end beside the last byte", r.PutArtifact(e.ctx, reading("end", len(bits), func() io.Reader { return iotest.DataErrReader(bytes.NewReader(bits)) })))
	e.files(id, File{"one", bits}, File{"end", bits})
}

func putTwice(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for range 3 {
		e.must("PutArtifact", r.PutArtifact(e.ctx, file("a", []byte("first"))))
		e.must("PutArtifact", r.PutArtifact(e.ctx, file("b", []byte("another"))))
	}
	e.must("PutArtifact of another content", r.PutArtifact(e.ctx, file("a", []byte("the second"))))
	e.files(id, File{"a", []byte("first")}, File{"b", []byte("another")})
}

func putTwiceByAnother(e *Env) {
	id, beside := e.build(), e.build()
	for i := range 3 {
		e.must("PutArtifact", e.open(id, i == 0).PutArtifact(e.ctx, file("a", []byte("first"))))
	}
	e.must("PutArtifact of another build", e.open(beside, true).PutArtifact(e.ctx, file("a", []byte("second"))))
	e.files(id, File{"a", []byte("first")})
	e.files(beside, File{"a", []byte("second")})
}

func names(e *Env) {
	id := e.build()
	r := e.open(id, true)
	var want []File
	for i, name := range []string{
		"plain.txt", "two words.txt", " leading", "trailing ", `quoted "name".txt`, "it's.txt", `back\slash.txt`, "ümläut.txt", "日本語.txt", "👩‍👩‍👧.bin", "e\u0301.txt", "\u00e9.txt", "50%.txt", "%2e%2e", "a+b&c=d;e,f.txt",
		"#hash?query", "<tag>.html", "$(touch x).sh", "`x`", "*.glob", "~", "-rf", ".hidden", "...", "con", "UPPER", "upper", "a:b", "|", "no-extension", "tar.gz.", strings.Repeat("n", 200) + ".txt",
	} {
		f := File{name, fmt.Appendf(nil, "content of %d", i)}
		if err := r.PutArtifact(e.ctx, file(f.Name, f.Content)); err != nil {
			e.Errorf("PutArtifact of %q: %v", name, err)
			continue
		}
		want = append(want, f)
	}
	for _, f := range want {
		e.must("PutArtifact once more", r.PutArtifact(e.ctx, file(f.Name, f.Content)))
	}
	e.files(id, want...)
}

// refuses wants PutArtifact to fail and to store nothing, and the next try to work.
func (e *Env) refuses(what string, a sink.Artifact) {
	id := e.build()
	r := e.open(id, true)
	err := r.PutArtifact(e.ctx, a)
	e.fails("PutArtifact of a source that "+what, err)
	e.files(id)
	e.must("PutArtifact of a good source", r.PutArtifact(e.ctx, file(a.Name, []byte("good"))))
	e.files(id, File{a.Name, []byte("good")})
}

var errSource = errors.New("the source is broken")

func failingSource(e *Env) {
	for _, size := range []int{10, 1 << 20} {
		e.refuses("fails half-way", reading("a", size, func() io.Reader {
			return io.MultiReader(bytes.NewReader(pattern(size)[:size/2]), iotest.ErrReader(errSource))
		}))
		e.refuses("fails at its end", reading("a", size, func() io.Reader { return io.MultiReader(bytes.NewReader(pattern(size)), iotest.ErrReader(errSource)) }))
	}
}

func failingOpen(e *Env) {
	a := file("a", []byte("text"))
	a.Open = func(context.Context) (io.ReadCloser, error) { return nil, errSource }
	e.refuses("cannot be opened", a)
}

func shortSource(e *Env) {
	for _, size := range []int{1, 10, 1 << 20} {
		e.refuses("is shorter than its size", reading("a", size, func() io.Reader { return bytes.NewReader(pattern(size)[:size-1]) }))
	}
	e.refuses("is empty, against its size,", reading("a", 5, func() io.Reader { return bytes.NewReader(nil) }))
}

func longSource(e *Env) {
	for _, size := range []int{0, 10, 1 << 20} {
		long := pattern(size + 1)
		e.refuses("is longer than its size", reading("a", size, func() io.Reader { return bytes.NewReader(long) }))
		e.refuses("goes on after its size", reading("a", size, func() io.Reader { return io.MultiReader(bytes.NewReader(long[:size]), bytes.NewReader(long[size:])) }))
	}
}

func closed(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for name, source := range map[string]io.Reader{"good": bytes.NewReader([]byte("text")), "broken": iotest.ErrReader(errSource)} {
		c := &closer{Reader: source}
		a := file(name, []byte("text"))
		a.Open = func(context.Context) (io.ReadCloser, error) { return c, nil }
		_ = r.PutArtifact(e.ctx, a)
		if !c.closed.Load() {
			e.Errorf("the %s source is not closed when PutArtifact has returned", name)
		}
	}
}

type closer struct {
	io.Reader
	closed atomic.Bool
}

func (c *closer) Close() error {
	c.closed.Store(true)
	return nil
}

const trx = `<?xml version="1.0" encoding="UTF-8"?>
<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010" id="a"><Results><UnitTestResult testName="one" outcome="Passed"/></Results></TestRun>
`

func testResults(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for range 2 {
		a := file("results.trx", []byte(trx))
		a.TestResults = true
		e.must("PutArtifact of test results", r.PutArtifact(e.ctx, a))
		b := file("junit.xml", []byte("<testsuites/>"))
		b.TestResults = true
		e.must("PutArtifact of other test results", r.PutArtifact(e.ctx, b))
		e.must("PutArtifact of what only looks like test results", r.PutArtifact(e.ctx, file("no.trx", []byte("no XML"))))
	}
	e.files(id, File{"results.trx", []byte(trx)}, File{"junit.xml", []byte("<testsuites/>")}, File{"no.trx", []byte("no XML")})

	bad := file("bad.trx", []byte("no XML"))
	bad.TestResults = true
	if err := r.PutArtifact(e.ctx, bad); err != nil && !errdefs.IsInvalidArgument(err) {
		e.Errorf("PutArtifact of test results that cannot be read: %v; want nil or InvalidArgument", err)
	}
}

func besideLines(e *Env) {
	id := e.build()
	r := e.open(id, true)
	done := make(chan error, 1)
	var want []File
	for i := range 10 {
		want = append(want, File{fmt.Sprint(i), pattern(100_000 + i)})
	}
	go func() {
		defer e.recovered()
		var errs []error
		for _, f := range want {
			errs = append(errs, r.PutArtifact(e.ctx, file(f.Name, f.Content)))
		}
		done <- errors.Join(errs...)
	}()
	e.counts(r, 0)
	for at := 0; at < 2_000; at += 100 {
		e.append(r, at, some(at, 100))
	}
	select {
	case err := <-done:
		e.must("PutArtifact", err)
	case <-e.ctx.Done():
		e.Fatalf("PutArtifact: %v", context.Cause(e.ctx))
	}
	e.stores(id, some(0, 2_000))
	e.files(id, want...)
}
