// Withkubernetes runs a command with a Kubernetes cluster of its own at hand: a real one, of one node.
//
//	withcontainerd -cri -- withkubernetes -bin DIR COMMAND [ARG…]
//
// It runs inside of tools/withcontainerd, whose namespaces it uses and with which everything ends, also by kill -9. DIR has the
// programs that scripts/current-kubernetes makes. In the command's environment KUBECONFIG names a kubeconfig of an administrator, and
// WHARF_KUBERNETES_CONTROL a Unix socket that stops, starts and kills the cluster's programs, for tests of what
// outlives them: a line "stop NAME", "kill NAME" or "start NAME" is answered with a line, "ok" or what is wrong.
//
// etcd, API server, controller manager, scheduler and kubelet listen in the run's own network namespace, and keep what they store below the
// run's directory. Claims of the default storage class, "standard", are served by this program with directories
// of the run, each writable for everybody, as those of widespread provisioners are.
package main
