//go:build linux

// Command bin is the program in the images of the conformance suite; see package testprog.
package main

import (
	"os"

	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

func main() { os.Exit(testprog.Main(testprog.OS())) }
