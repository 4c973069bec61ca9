package local_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink/local"
)

// The environment of a child: the directory, and the build that it writes.
const (
	childEnv = "WHARF_TEST_LOCAL_DIR"
	buildEnv = "WHARF_TEST_LOCAL_BUILD"
)

// child writes lines from where the build stands, and tells after each Commit how many there are, until it is killed.
func child(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	build, err := strconv.ParseUint(os.Getenv(buildEnv), 10, 64)
	fail(err)
	s, err := local.Open(dir, local.Options{})
	fail(err)
	ctx := context.Background()
	r := s.Open(build, forever)
	n, err := r.Lines(ctx)
	fail(err)
	for at := int(n); ; {
		for range 3 {
			fail(r.Append(ctx, uint64(at), lines(at, 700)))
			at += 700
		}
		fail(r.Commit(ctx))
		fmt.Println(at)
	}
}

// run starts a child, kills it when it has committed some times, and returns how many lines it has told of.
func run(t *testing.T, dir string, build uint64, commits int) (told int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, buildEnv+"="+strconv.FormatUint(build, 10))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		told, _ = strconv.Atoi(lines.Text())
		if i == commits {
			_ = cmd.Process.Kill() // and what it has told meanwhile is read
		}
	}
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		t.Errorf("the process of build %d: %s", build, stderr.String())
	}
	return told
}

// What was committed survives the death of its process, and another goes on behind it; several processes write at once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, local.Options{})
	var all sync.WaitGroup
	for build := range uint64(3) {
		build++
		all.Go(func() {
			for round := range 4 {
				told := run(t, dir, build, 2+round)
				n, err := s.Open(build, forever).Lines(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if told == 0 || n < uint64(told) {
					t.Errorf("build %d has %d lines, and %d were committed", build, n, told)
				}
			}
		})
	}
	all.Wait()
	for build := uint64(1); build <= 3; build++ {
		_, _, body := get(t, s, fmt.Sprintf("/api/build/%d/log", build), "Accept", "text/plain")
		for i, l := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
			if want := fmt.Sprintf("line %d", i); l != want {
				t.Fatalf("line %d of build %d is %q", i, build, l)
			}
		}
	}
}
