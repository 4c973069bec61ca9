// Package program looks at programs that are to run by themselves in a container: for Linux, and without shared libraries.
package program

import (
	"debug/elf"
	"fmt"
	"os"
)

var machines = map[elf.Machine]string{
	elf.EM_386: "386", elf.EM_X86_64: "amd64", elf.EM_ARM: "arm", elf.EM_AARCH64: "arm64", elf.EM_LOONGARCH: "loong64",
	elf.EM_PPC64: "ppc64le", elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x",
}

// Arch returns the architecture, as in GOARCH, of the program in a file. The error says, of a file that does not run by itself on Linux, why not; it
// goes on a sentence that begins with the name of the file.
func Arch(path string) (string, error) {
	f, err := elf.Open(path)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("does not exist")
	}
	if err != nil {
		return "", fmt.Errorf("is no program for Linux")
	}
	defer f.Close()
	arch, known := machines[f.Machine]
	if !known {
		return "", fmt.Errorf("is for %v, which Wharf does not know", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("needs shared libraries (it was built with cgo)")
		}
	}
	return arch, nil
}
