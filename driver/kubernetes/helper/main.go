//go:build linux

// Command helper runs inside the pods of the driver for Kubernetes, see package kubernetes. It is one static program with several parts:
//
//	helper keep          the keeper: the first container of each pod
//	helper await         its hook: returns when other containers may start
//	helper run NAME …    process 1 of each container of the task
//	helper call          carries one call of the driver to the keeper
//
// It uses the standard library and golang.org/x/sys only.
package main

import (
	"fmt"
	"os"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// failed is the exit code when the helper itself could not do its work.
const failed = 70

func main() {
	part := ""
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	var err error
	switch part {
	case "keep":
		err = keep()
	case "await":
		err = await(wire.Private + "/ready")
	case "run":
		err = runContainer(os.Args[2:])
	case "call":
		err = call()
	default:
		err = fmt.Errorf("usage: helper keep|await|run|call; it is started by Wharf's driver for Kubernetes")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "helper:", err)
		os.Exit(failed)
	}
}
