//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ownMachine makes the namespaces that we are in fit for a kubelet, without a change that could be seen outside of them.
func ownMachine(dir string) error {
	if err := errors.Join(hide(dir, "/var/log"), hide(dir, "/var/lib/cni"), fixTunables(dir), makeGroups(os.Getenv("CONTAINERD_CGROUP"))); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"addr", "add", nodeIP + "/16", "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

// hide mounts a directory of the run over one that kubelet or CNI write to, whatever their settings say.
func hide(dir, place string) error {
	own := filepath.Join(dir, "hidden", filepath.Base(place))
	if err := errors.Join(os.MkdirAll(own, 0o755), os.MkdirAll(place, 0o755)); err != nil {
		return err
	}
	if err := syscall.Mount(own, place, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", place, err)
	}
	return nil
}

// fixTunables shows the kubelet the settings of the kernel that it would otherwise change, for the whole machine.
func fixTunables(dir string) error {
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		own := filepath.Join(dir, "hidden", filepath.Base(name))
		if err := os.WriteFile(own, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(own, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /proc/sys/%s: %w", name, err)
		}
	}
	return nil
}

// makeGroups makes the control group below which the kubelet makes its own: on version 2 one, on version 1 one of each controller.
func makeGroups(name string) error {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return makeGroup2(root, name)
	}
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		if !e.IsDir() { // a link to a hierarchy of two controllers
			continue
		}
		group := filepath.Join(root, e.Name(), name)
		err = errors.Join(err, os.MkdirAll(group, 0o755))
		if e.Name() == "cpuset" {
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				of, rerr := os.ReadFile(filepath.Join(root, e.Name(), f))
				err = errors.Join(err, rerr, os.WriteFile(filepath.Join(group, f), of, 0o644))
			}
		}
	}
	return err
}

// makeGroup2 makes the group, and lets it have every controller that there is.
func makeGroup2(root, name string) error {
	all, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if err := delegate(root, string(all)); err != nil {
		return err
	}
	group := filepath.Join(root, name)
	return errors.Join(os.MkdirAll(group, 0o755), delegate(group, string(all)))
}
