// Withcontainerd runs a command with a containerd of its own at hand.
//
//	withcontainerd [-bin DIR] [-lock NAME] [-cri] COMMAND [ARG…]
//
// The daemon belongs to this run alone: its directories are below a new one in the user's cache directory. In the command's
// environment CONTAINERD_ADDRESS is its socket, CONTAINERD_CGROUP the control group that containers are to be in, and WHARF_TEST_CONTAINERD is
// the URL by which wharf uses both; CONTAINERD_RUN is the run's directory. With -cri the daemon serves a kubelet too, see
// tools/withkubernetes. The daemon runs, with the command, in namespaces of its own:
//
//   - a PID namespace, so that everything that the daemon or the command starts ends with this run, also after kill -9;
//   - a mount namespace, so that no mount outlives it, with a /run and a /var/lib/wharf of its own;
//   - a network namespace with a loopback device only, so that no bridge, route or firewall rule touches the machine.
//
// The directory and the control groups are removed at the end; if the run was killed, the next one removes them. A machine's own
// containerd is neither used nor seen; a Docker daemon at its usual socket can still be used. It needs root.
package main
