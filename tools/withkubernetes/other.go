//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "withkubernetes: needs Linux")
	os.Exit(125)
}
