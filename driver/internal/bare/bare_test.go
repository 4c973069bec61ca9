package bare

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestPauseProgram runs the program of the image on this machine.
func TestPauseProgram(t *testing.T) {
	program, err := Pause.Executable(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		if out, err := exec.Command(path, port, "10").CombinedOutput(); err != nil {
			t.Errorf("waiting for %s: %v %s", l.Addr(), err, out)
		}
		l.Close()
		began := time.Now()
		if err := exec.Command(path, port, "1").Run(); err == nil || time.Since(began) < 900*time.Millisecond {
			t.Errorf("waiting for %s, where nothing listens: %v after %s; want a death by SIGALRM after a second", address, err, time.Since(began))
		}
	}
}

// TestPauseImages builds the image of each architecture.
func TestPauseImages(t *testing.T) {
	for arch := range Pause.Code {
		if data, err := Pause.Archive(arch); err != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v", arch, len(data), err)
		}
	}
	if _, err := Pause.Archive("riscv64"); err == nil {
		t.Error("an unknown architecture has an image")
	}
}
