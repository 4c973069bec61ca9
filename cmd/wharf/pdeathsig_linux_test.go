package main

import "syscall"

// diesWithParent ends a process when the one that started it has ended.
var diesWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
