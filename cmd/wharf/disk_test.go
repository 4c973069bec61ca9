package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// onSmallDisk runs a build whose results go to a disk of the given size. The disk ends with the build; what is on
// it is copied to the directory that is returned.
func onSmallDisk(t *testing.T, size, build string) (cmd *exec.Cmd, said string, code int, results string) {
	t.Helper()
	cmd = wharf(t)
	disk, results := t.TempDir(), t.TempDir()
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	cmd.Args = append(unshare, "sh", "-c", `
		mount -t tmpfs -o size="$1" small "$2" || exit 99
		wharf run --output plain --grace 1s --results "$2"/results "$3"
		code=$?
		cp -r "$2"/. "$4"
		exit $code`, "sh", size, disk, build, results)
	var err error
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if code = exitCode(t, err); code == 99 {
		t.Fatalf("no small disk could be mounted:\n%s", out)
	}
	return cmd, string(out), code, filepath.Join(results, "results")
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	cmd, said, code, results := onSmallDisk(t, "2m", definition(t, "echo the first line\nyes 'and many more lines, each of which takes its room' | head -n 1000000\nsleep 1000"))
	if code != 3 || !strings.Contains(said, "the disk is full; make room, or choose another results directory") {
		t.Errorf("exit code %d, want 3:\n%.4000s", code, said)
	}
	nothingLeft(t, cmd)
	var first, lines int
	var last worker.Event
	for e, err := range journal.Read(results) {
		if err != nil {
			t.Fatalf("the journal cannot be read: %v", err)
		}
		if e.Kind == worker.KindLog {
			lines++
			if string(e.Line) == "the first line" {
				first = lines
			}
		}
		last = e
	}
	if first != 1 || lines < 1000 {
		t.Errorf("the journal has %d lines, and the first is number %d", lines, first)
	}
	if last.Kind != worker.KindBuild || last.State != worker.Errored || !strings.Contains(last.Reason, "the disk is full") {
		t.Errorf("the journal ends with %+v", last)
	}
	text, err := os.ReadFile(filepath.Join(results, "steps", "build--step", "output.log"))
	if err != nil || !strings.Contains(string(text), " the first line\n") {
		t.Errorf("the log begins with %.100q, %v", text, err)
	}
}

func TestFullDiskFromTheBeginning(t *testing.T) {
	t.Parallel()
	cmd, said, code, _ := onSmallDisk(t, "16k", definition(t, "echo never"))
	if code != 3 || !strings.Contains(said, "the disk is full; make room, or choose another results directory") || strings.Contains(said, "| never") {
		t.Errorf("exit code %d, want 3:\n%.4000s", code, said)
	}
	nothingLeft(t, cmd)
}

func TestFullDiskByAnArtifact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "build:\n  step:\n    container: {image: 'localhost/wharf/busybox:1', cmds: [dd if=/dev/zero of=big bs=1M count=8], artifacts: [big]}\n"
	if err := os.WriteFile(filepath.Join(dir, ".wharf-ci.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, said, code, _ := onSmallDisk(t, "2m", dir)
	if code != 3 || !strings.Contains(said, "the disk is full") {
		t.Errorf("exit code %d, want 3:\n%.4000s", code, said)
	}
	nothingLeft(t, cmd)
}
