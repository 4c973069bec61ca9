package endtoend

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/wharfci/wharf/provisioner"
)

// TestLarge builds a repository that is larger than a program would have in memory, and wants the build to see every byte, and the provisioner to need no memory for it.
func TestLarge(t *testing.T) {
	p := begin(t)
	p.large("large", sample(50, 2048))
	p.until(p.trigger(90, "large", "main").ID, provisioner.Succeeded)
	if most := p.peak(); most > 128<<20 {
		t.Errorf("the provisioner has needed %d MiB", most>>20)
	} else {
		t.Logf("the provisioner has needed %d MiB", most>>20)
	}
	if removed, err := p.client.Prune(t.Context(), 0); err != nil || len(removed) != 1 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
}

// large makes a repository of so many MiB that no compression makes smaller, whose build compares their sum.
func (s *system) large(name string, size int) {
	s.t.Helper()
	tree, bare := s.t.TempDir(), filepath.Join(s.repos, name+".git")
	const piece = 32
	random, sum := rand.NewChaCha8([32]byte{}), sha256.New()
	for i := 0; i*piece < size; i++ {
		f, err := os.Create(filepath.Join(tree, fmt.Sprintf("data-%04d", i)))
		if err == nil {
			_, err = io.CopyN(io.MultiWriter(f, sum), random, int64(min(piece, size-i*piece))<<20)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	definition := checks(fmt.Sprintf("cat data-* | sha256sum | grep -q %x", sum.Sum(nil)))
	if err := os.WriteFile(filepath.Join(tree, definitionFile), []byte(definition), 0o644); err != nil {
		s.t.Fatal(err)
	}
	git(s.t, "init", "-q", "--bare", "-b", "main", bare)
	for setting, value := range map[string]string{"core.compression": "0", "core.bigFileThreshold": "1m", "gc.auto": "0"} {
		git(s.t, "--git-dir="+bare, "config", setting, value)
	}
	in := []string{"--git-dir=" + bare, "--work-tree=" + tree, "-C", tree}
	git(s.t, append(in, "add", "-A")...)
	git(s.t, append(in, "commit", "-q", "-m", "large")...)
}

// peak is the most memory that the provisioner has had, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	kib, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}
