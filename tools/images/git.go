package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// gitProgram is the Git of this machine, with the libraries that it needs.
type gitProgram struct {
	path, key string
	libraries []string // absolute paths
}

func findGit() (gitProgram, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return gitProgram{}, errors.New("no Git here: apt-get install git")
	}
	version, err := exec.Command(path, "version", "--build-options").Output()
	if err != nil {
		return gitProgram{}, fmt.Errorf("git version: %w", err)
	}
	needs, err := exec.Command("ldd", path).Output()
	if err != nil {
		return gitProgram{}, fmt.Errorf("ldd %s: %w", path, err)
	}
	return gitProgram{path, string(version), libraries(string(needs))}, nil
}

// libraries returns the paths in what ldd prints: "name => /path (address)", or "/path (address)" for the loader.
func libraries(ldd string) []string {
	var found []string
	for line := range strings.Lines(ldd) {
		if _, after, ok := strings.Cut(line, "=>"); ok {
			line = after
		}
		if path, _, ok := strings.Cut(strings.TrimSpace(line), " ("); ok && filepath.IsAbs(path) {
			found = append(found, path)
		}
	}
	return found
}

// fill writes Git as one program. Those of its commands that are started under a name of their own are links to it.
func (g gitProgram) fill(l *layer) error {
	seen := map[string]bool{"usr": true, "usr/bin": true, "usr/local": true, "bin": true}
	for _, lib := range g.libraries {
		l.parents(filepath.Dir(lib)[1:], seen)
		l.copyFile(lib[1:], lib)
	}
	l.copyFile("usr/bin/git", g.path)
	for _, name := range []string{"git-upload-pack", "git-receive-pack", "git-upload-archive"} {
		l.link("usr/bin/"+name, "git")
	}
	l.parents("usr/share/git-core/templates", seen)
	return nil
}
