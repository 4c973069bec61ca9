package testprog

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

func printLine(s System, args []string) (int, error) {
	_, err := fmt.Fprintln(s.Stdout(), strings.Join(args, " "))
	return 0, err
}

func eprintLine(s System, args []string) (int, error) {
	_, err := fmt.Fprintln(s.Stderr(), strings.Join(args, " "))
	return 0, err
}

func raw(s System, args []string) (int, error)  { return hexTo(s.Stdout(), args) }
func eraw(s System, args []string) (int, error) { return hexTo(s.Stderr(), args) }

// hexTo writes bytes, given in hexadecimal, as they are.
func hexTo(w io.Writer, args []string) (int, error) {
	b, err := hex.DecodeString(strings.Join(args, ""))
	if err == nil {
		_, err = w.Write(b)
	}
	return 0, err
}

// Line is the text of line i, from 0, of the verb "lines N SIZE": size bytes, or a few more if size is too small.
func Line(i, size int) []byte {
	line := fmt.Appendf(nil, "%08d ", i)
	for len(line) < size {
		line = append(line, 'a'+byte((i+len(line))%26))
	}
	return line
}

// lines writes N lines of SIZE bytes, as fast as it can, beginning with number FIRST (0 if absent).
func lines(s System, args []string) (int, error) {
	if len(args) == 2 {
		args = append(args, "0")
	}
	n, err := numbers(args, 3)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(s.Stdout(), 64<<10)
	for i := range int(n[0]) {
		if _, err := w.Write(append(Line(int(n[2])+i, int(n[1])), '\n')); err != nil {
			return 0, err
		}
	}
	return 0, w.Flush()
}

// LongLine is the text that the verb "long SIZE" writes as one line.
func LongLine(size int) []byte {
	line := make([]byte, 0, size+10)
	for len(line) < size {
		line = fmt.Appendf(line, "<%08d>", len(line))
	}
	return line[:size]
}

func long(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(s.Stdout(), io.MultiReader(bytes.NewReader(LongLine(int(n[0]))), strings.NewReader("\n")))
	return 0, err
}

// both writes N lines to each of the two streams, in turn.
func both(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err != nil {
		return 0, err
	}
	for i := range n[0] {
		if _, err := fmt.Fprintf(s.Stdout(), "out %d\n", i); err != nil {
			return 0, err
		}
		if _, err := fmt.Fprintf(s.Stderr(), "err %d\n", i); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// printArgs prints the argument vector, each as a quoted Go string on a line of its own.
func printArgs(s System) int {
	for _, arg := range s.Args() {
		fmt.Fprintf(s.Stdout(), "%q\n", arg)
	}
	return 0
}

// env prints the environment, each variable as a quoted Go string on a line of its own.
func env(s System, _ []string) (int, error) {
	for _, v := range s.Environ() {
		if _, err := fmt.Fprintf(s.Stdout(), "%q\n", v); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func cwd(s System, _ []string) (int, error) {
	dir, err := s.Getwd()
	fmt.Fprintln(s.Stdout(), dir)
	return 0, err
}

func hostname(s System, _ []string) (int, error) {
	name, err := s.Hostname()
	fmt.Fprintln(s.Stdout(), name)
	return 0, err
}

func id(s System, _ []string) (int, error) {
	uid, gid, _ := s.IDs()
	_, err := fmt.Fprintf(s.Stdout(), "%d:%d\n", uid, gid)
	return 0, err
}

// clock prints the nanoseconds since 1970.
func clock(s System, _ []string) (int, error) {
	_, err := fmt.Fprintln(s.Stdout(), s.Now().UnixNano())
	return 0, err
}
