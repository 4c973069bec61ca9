//go:build !linux

package main

import "syscall"

// diesWithParent is nothing here: a daemon of the tests' own needs Linux.
var diesWithParent *syscall.SysProcAttr
