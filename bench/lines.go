package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	lineCount = 1_000_000
	lineBytes = 100 // with the newline
	firstLine = 1_000_000
)

// printLines prints numbers from firstLine on, padded with zeros, so that each line can be checked. It does so faster than
// any log takes them.
var printLines = fmt.Sprintf("seq %d %d | sed s/^/%s/", firstLine, firstLine+lineCount-1, strings.Repeat("0", lineBytes-1-len(fmt.Sprint(firstLine))))

// lines runs a build of one step that prints the lines, and then reads them all back from the results directory.
func (b *bench) lines() func(context.Context) (sample, error) {
	const name = "million-lines"
	build := b.build(name, sequence(1, printLines))
	return func(ctx context.Context) (sample, error) {
		s, err := build(ctx)
		if err != nil {
			return s, err
		}
		logs, err := filepath.Glob(filepath.Join(b.dir, name+".results", "steps", "*", "output.log"))
		if err != nil || len(logs) != 1 {
			return s, fmt.Errorf("the results directory holds %d logs of steps, want 1 (%v)", len(logs), err)
		}
		return s, verifyLines(logs[0], lineCount)
	}
}

// verifyLines checks that a step's log has the n lines, each once, in order. A line is a time, a space, and the text.
func verifyLines(name string, n int) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	var want []byte
	for i := 1; ; i++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			if i-1 != n {
				return fmt.Errorf("%s has %d lines, want %d", name, i-1, n)
			}
			return nil
		}
		if err != nil {
			return err
		}
		want = fmt.Appendf(want[:0], "%0*d\n", lineBytes-1, firstLine+i-1)
		if _, text, found := bytes.Cut(line, []byte(" ")); !found || !bytes.Equal(text, want) {
			return fmt.Errorf("%s: line %d is %q, want %q", name, i, line, want)
		}
	}
}
