//go:build unix

package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// With this variable the test's program is one that is supervised, and its child does what the variable says.
const playEnv = "WHARF_TEST_SUPERVISE"

func TestMain(m *testing.M) {
	if play := os.Getenv(playEnv); play != "" {
		os.Exit(act(play))
	}
	os.Exit(m.Run())
}

func act(play string) int {
	if !Child() {
		code, err := Run(2, func(s syscall.Signal, again bool) { fmt.Println("died of", int(s), again) })
		if err != nil {
			fmt.Println(err)
			return 99
		}
		return code
	}
	what, file, _ := strings.Cut(play, ":")
	text, _ := os.ReadFile(file)
	n, _ := strconv.Atoi(string(text))
	_ = os.WriteFile(file, []byte(strconv.Itoa(n+1)), 0o600)
	fmt.Println("child", n)
	deaths, _ := strconv.Atoi(what)
	switch {
	case what == "term":
		_ = syscall.Kill(os.Getppid(), syscall.SIGTERM)
		time.Sleep(time.Minute) // the signal ends it
	case n < deaths:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	}
	return 7
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		play, want string
		code       int
	}{
		{"0", "child 0\n", 7},
		{"2", "child 0\ndied of 9 true\nchild 1\ndied of 9 true\nchild 2\n", 7},
		{"5", "child 0\ndied of 9 true\nchild 1\ndied of 9 true\nchild 2\ndied of 9 false\n", 137},
		{"term", "child 0\ndied of 15 false\n", 143},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), playEnv+"="+c.play+":"+filepath.Join(t.TempDir(), "n"))
		out, _ := cmd.CombinedOutput()
		if string(out) != c.want || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%s: exit code %d, and it printed %q; want %d, %q", c.play, cmd.ProcessState.ExitCode(), out, c.code, c.want)
		}
	}
}
