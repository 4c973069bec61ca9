package rootfs

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"strings"
)

// machine is what programs for an architecture of Debian are built for, and where its libraries are.
type machine struct {
	elf       elf.Machine
	libraries string
}

var machines = map[string]machine{
	"amd64": {elf.EM_X86_64, "usr/lib/x86_64-linux-gnu"},
	"arm64": {elf.EM_AARCH64, "usr/lib/aarch64-linux-gnu"},
}

// Knows reports whether there are machines of that architecture, as Debian and Go name it, that [Tree.Pick] can look for libraries for.
func Knows(arch string) bool {
	_, ok := machines[arch]
	return ok
}

// picker moves files from a tree to another one.
type picker struct {
	from, to Tree
	arch     string
}

// take takes a file that the program by needs, and what that needs in turn. A file that was taken already is not looked at again.
func (p picker) take(name, by string) []error {
	passed, err := p.from.follow(name)
	if err != nil && by != "" {
		err = fmt.Errorf("%s needs it: %w", by, err)
	}
	if err != nil {
		return []error{err}
	}
	file := passed[len(passed)-1]
	_, known := p.to[file]
	for _, n := range passed {
		p.to[n] = p.from[n]
	}
	if content := p.from[file].Content; !known && bytes.HasPrefix(content, []byte(elf.ELFMAG)) {
		return p.needs(file, content)
	}
	return nil
}

// needs takes what the loader would look for.
func (p picker) needs(name string, content []byte) []error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return []error{fmt.Errorf("%s: %w", name, err)}
	}
	m := machines[p.arch]
	if f.Machine != m.elf {
		return []error{fmt.Errorf("%s is a program for %s, not for %s", name, f.Machine, p.arch)}
	}
	var errs []error
	for _, part := range f.Progs {
		if part.Type == elf.PT_INTERP {
			loader := make([]byte, part.Filesz)
			if _, err := part.ReadAt(loader, 0); err != nil {
				return []error{fmt.Errorf("%s: %w", name, err)}
			}
			errs = append(errs, p.take(strings.TrimRight(string(loader), "\x00"), name)...)
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return append(errs, fmt.Errorf("%s: %w", name, err))
	}
	for _, lib := range libraries {
		errs = append(errs, p.take(p.find(f, name, lib, m), name)...)
	}
	return errs
}

// find returns where a library is, or where it should be: where the program itself says, or in the loader's own directories.
func (p picker) find(f *elf.File, name, lib string, m machine) string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, _ := f.DynString(tag)
		for _, list := range paths {
			dirs = append(dirs, strings.Split(strings.NewReplacer("$ORIGIN", "/"+path.Dir(name), "${ORIGIN}", "/"+path.Dir(name)).Replace(list), ":")...)
		}
	}
	for _, dir := range append(dirs, m.libraries, "usr/lib") {
		if _, err := p.from.follow(path.Join(dir, lib)); err == nil {
			return path.Join(dir, lib)
		}
	}
	return path.Join(m.libraries, lib)
}
