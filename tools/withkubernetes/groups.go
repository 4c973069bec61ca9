//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// delegate lets the groups below one have the controllers. One that cannot be had is left out: the kubelet says which it
// cannot do without.
func delegate(group, controllers string) error {
	file := filepath.Join(group, "cgroup.subtree_control")
	for _, c := range strings.Fields(controllers) {
		err := os.WriteFile(file, []byte("+"+c), 0o644)
		if err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}
