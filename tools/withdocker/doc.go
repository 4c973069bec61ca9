// Withdocker runs a command with a Docker daemon at hand.
//
//	withdocker [-private] [-bin DIR] [-lock NAME] COMMAND [ARG…]
//
// A daemon that answers already (DOCKER_HOST, else /var/run/docker.sock) is used and left as it is. Where none
// answers, or with -private, withdocker starts one that belongs to this run alone, in namespaces of its own:
//
//   - a PID namespace, so that everything the daemon or the command starts ends with this run, also after kill -9;
//   - a mount namespace, so that no mount outlives it, and so that the socket can stand at its usual place;
//   - a network namespace with a loopback device only, so that no bridge, route or firewall rule touches the
//     machine, and two daemons do not fight over the same iptables chains. The command runs in there too: it
//     reaches the containers and the daemon, and nothing beyond the machine.
//
// What a private daemon stores is in a directory under the user's cache directory, and is removed at the end; if
// the run was killed, the next one removes it. A private daemon needs root, or sudo without a password.
package main
