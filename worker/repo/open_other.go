//go:build !unix

package repo

import "os"

func openFile(name string) (*os.File, error) { return os.Open(name) }
