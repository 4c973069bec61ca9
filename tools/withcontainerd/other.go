//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "withcontainerd: needs Linux")
	os.Exit(125)
}
