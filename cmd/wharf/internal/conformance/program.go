package conformance

import (
	"fmt"
	"os"

	"github.com/wharfci/wharf/cmd/wharf/internal/program"
)

// programName is what the suite calls the test program in its images. A wharf of that name is the test program.
const programName = "testprog"

// Program returns the path of the program that the suite puts in its images: the one that is given, or else this program itself.
// It must run by itself on Linux on that architecture; the error says why it does not, and what does.
func Program(given, arch string) (string, error) {
	path, whose := given, given
	if given == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path, whose = self, "this wharf"
	}
	if why := unfit(path, arch); why != "" {
		return "", fmt.Errorf("the suite runs wharf itself as the program in its containers, and %s %s; give it one with --program:\n"+
			"  CGO_ENABLED=0 GOOS=linux GOARCH=%s go install github.com/wharfci/wharf/cmd/wharf@latest", whose, why, arch)
	}
	return path, nil
}

// unfit says why a program does not run by itself on Linux on that architecture, or nothing.
func unfit(path, arch string) string {
	is, err := program.Arch(path)
	if err != nil {
		return err.Error()
	}
	if is != arch {
		return fmt.Sprintf("is for %s, but the runtime needs %s", is, arch)
	}
	return ""
}
