package conformance

import (
	"os"
	"path/filepath"

	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

// AsProgram is the test program, and does not return, if this process was started as such, in a container of the suite.
func AsProgram() {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == programName {
		os.Exit(testprog.Main(testprog.OS()))
	}
}
