package endtoend

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	// runtimeEnv names the runtime that the tests were started with.
	runtimeEnv = "WHARF_TEST_RUNTIME"
	// soakEnv, if it is set, makes the tests of crowds and of random moments as long as they are meant: without it they are a sample.
	soakEnv = "WHARF_SOAK"
)

const (
	engineToken = "engine-token"
	gitToken    = "git-token-that-nobody-may-see"
	workerKey   = "a key of the tests alone"
	image       = "localhost/wharf/worker:1"
	stepImage   = "localhost/wharf/busybox:1"
	account     = "wharf-worker"
)

var wharf string // the command, built once

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wharf-endtoend-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	wharf = filepath.Join(dir, "wharf")
	build := exec.Command("go", "build", "-o", wharf, "../../cmd/wharf")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// runtimeName is the runtime that the tests are for.
func runtimeName() string { return cmp.Or(os.Getenv(runtimeEnv), "docker") }

// sample chooses between the size of a test in a usual run and in a long one.
func sample(usual, long int) int {
	if os.Getenv(soakEnv) != "" {
		return long
	}
	return usual
}
