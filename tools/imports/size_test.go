package imports

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// most is how much larger a program may become by a driver than it is with the bare client of the runtime.
const most = 1.2

// TestDriversAreLight builds, for each runtime, its example with the driver, and a program that does the same with the bare client of
// that runtime, and compares the sizes.
func TestDriversAreLight(t *testing.T) {
	for runtime := range examples {
		bare := size(t, "./testdata/bare/"+runtime)
		with := size(t, module+"/examples/"+runtime)
		ratio := float64(with) / float64(bare)
		t.Logf("%s: %d bytes with the driver, %d with the bare client: %.2f", runtime, with, bare, ratio)
		if ratio > most {
			t.Errorf("a program with the driver of %s is %.2f times as large as one with the bare client; want at most %.1f", runtime, ratio, most)
		}
	}
}

func size(t *testing.T, program string) int64 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", program, err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
