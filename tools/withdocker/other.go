//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "withdocker: a private Docker daemon needs Linux; start Docker and run the command beside it")
	os.Exit(125)
}
