// Package runc is a driver that runs tasks with the command runc, and with nothing else: no daemon. It is the worked example of
// docs/driver-author.md, in a module of its own, as a driver from elsewhere would be. It keeps the whole contract of
// package driver, which TestConformance proves, and claims few of the abilities, which keeps it short.
//
// # Requirements
//
// Linux, root, runc 1.1 or newer, and iptables. The directory of [Config].Root must be on
// a file system that can be the upper layer of an overlay (not an overlay itself). The program that uses the driver calls [Shim] first
// thing in main: the process that looks after a container is the same program, started again.
//
// # Capabilities
//
// Hostname and NetworkNone. Everything else that is optional is refused with driver.ErrUnsupported.
//
// # How it maps
//
// The file system is the database. A task is a directory, Root/OWNER/tasks/NAME:
//
//	task.json      the spec, and the handle; never changed
//	upper, work    what the container writes, above the image's files
//	rootfs         both together, an overlay mount
//	config.json    what runc is told
//	log            what the container prints, one JSON object an entry
//	shim.lock      locked while a shim lives
//	started.json   appears when the process runs
//	exit.json      appears when it has ended, after the last entry of the log
//
// A volume is a directory as well, and an image a directory with its layers unpacked over each other. Whoever waits for
// something, in whichever process, waits for the kernel to tell of a change in the task's directory (inotify).
//
// runc starts a container and ends. So that somebody is there who learns how the container ends, and who reads what it prints, each
// task has a shim: it is the container's parent, and outlives the program that started it.
//
// Containers are on a bridge, wharf-runc0, which is made with its rules of iptables when it is first needed, and stays.
//
// # Limits
//
// No seccomp profile. After a reboot the mounts are gone: tasks are then listed, and can only be removed. CopyIn and CopyOut refuse to
// pass through a symbolic link with an absolute target.
package runc
