// Command wharf runs the builds that a .wharf-ci.yml describes, on whatever container runtime is at hand.
package main

import (
	"os"

	"github.com/wharfci/wharf/cmd/wharf/internal/cli"
	"github.com/wharfci/wharf/cmd/wharf/internal/conformance"
)

func main() {
	conformance.AsProgram()
	os.Exit(cli.Main(os.Args[1:]))
}
