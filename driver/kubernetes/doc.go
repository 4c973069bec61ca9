// Package kubernetes is the driver for Kubernetes.
//
// # Requirements
//
// Kubernetes 1.30 or newer with Linux nodes. In the namespace of the tasks, the driver may create, get, list, watch, patch and delete pods,
// create and get pods/exec, create, get and delete secrets, and create, get, list, watch and delete persistentvolumeclaims. It may list and watch events, or does not
// tell why a node evicts a pod before that has ended. A role for that is docs/runtimes/kubernetes-role.yaml. Volumes need a storage class that makes claims of the mode ReadWriteOnce, or
// [Config].VolumeRoot. The nodes can pull [Config].HelperImage, or have it.
//
// # Capabilities
//
// Init, Services, DNS, Hosts, Hostname, VolumeSubPath, CPULimit, MemoryLimit, Secrets, Placement, Exec, Dial, Events and Stats. What goes
// beyond the safe choice is claimed when [Config].Allow admits it. Not claimed are Pull and Platforms (a node
// pulls what a pod needs, and nothing else), Sandboxes, PIDLimit (a setting of the kubelet, not of the pod), NetworkOwn and
// NetworkNone (whether a network policy is enforced cannot be found out), VolumeSize and VolumeUsage.
//
// # How it maps
//
// A task is a pod that is never restarted. Its first container is the keeper, a small program of this package (the helper); each container of
// the task, init containers and services included, is an ordinary container of the pod, in which the same program runs as
// process 1: it waits for its turn, runs the command, and stays when that has ended, so that files can be copied before, during and after. The
// program comes into an image that has neither shell nor loader by a directory that the pod's containers share: the keeper puts it there in a hook
// that the kubelet runs before it starts the other containers.
//
// The keeper starts the containers in order, checks services for readiness, ends them, keeps what all of them print in a file
// that no container of the task can reach, and knows how each ended. So a task goes on when the process that started it has died, and the kubelet's
// log, which is rotated, is not used. The commands' output comes to the keeper by pipes that process 1 hands over; no
// byte is copied on the way. The driver speaks to the keeper by pods/exec over WebSockets: one call for each Start, Wait, Logs, copy and so on.
// What happens to the pod it learns from one watch for each driver value.
//
// Created means here: on a node, with its images, every container waiting for its turn. With [Config].Gate a
// task is created behind a scheduling gate instead, which Start lifts: from then on it is starting, wherever its pod stands. A pod with Secrets has a gate of its own from its making until they are there:
// until then the task is not complete, and if its maker dies it stays so.
//
// A task that is stopped before its keeper runs has that in an annotation, which the API server takes only if the pod has not changed since
// that was seen; gates are lifted under the same condition, and the keeper of such a pod is never told to start. Its gates stay; a pod that has none, and that a
// node takes all the same, is ended there by its deadline.
//
// The result of a task is what the keeper has on record. A pod's phase is never proof of success: that of an evicted pod may
// be Succeeded. An eviction that the kubelet tells of goes before out of memory, and that before the exit code.
//
// A container without Entrypoint in its spec runs the image's. Kubernetes does not tell what that is, so Start reads the image's
// configuration from its registry, by the digest that the node reports, with the pull secrets of the pod, and keeps it for
// as long as the driver value lives. It is asked at Start and not at Create because only then it is known what the node has pulled.
//
// A volume is a claim of the mode ReadWriteOnce. Tasks that share one run on its node. With [Config].VolumeRoot it is a directory of the node on which
// it was made, and the claim, which nothing binds, is its record. Files of a volume that is used without a
// task are copied by a pod that lives for that copy alone. Secrets are kept in a Secret that the pod owns and that only the keeper mounts; it
// writes each with owner and mode to a file in memory, which is mounted at its path.
//
// Whose a pod or claim is, and what it is, is in labels, as hashes where a value may be too long, and in full in annotations; what
// has no label of this package is never touched. A pod also has the caller's labels, those that Kubernetes can have, under label.dev.wharfci/, for others to
// select by. The credentials of a service account are mounted in the main container, and not by the API server, which would do so in each.
//
// # Limits
//
// What a task prints, at most the node's disk, is kept with the pod: it is lost with its node. Files can be copied, and
// commands run, as the user that the container's process 1 has: root, unless the spec leaves the user to the image, or has a number and NonRoot. With
// DropAll that is a root without capabilities. A container
// whose process 1 was killed has no files any more. A connection of Exec or Dial is taken for broken when the task has left much of what was written to it unread
// for a minute, since the answers to pings come behind it. On nodes with control groups of version 2 the kernel kills all of a container
// that is out of memory, unless the kubelet has singleProcessOOMKill set. A volume on several tasks needs them on one node: tasks that use two volumes which were made on different nodes
// cannot be scheduled.
package kubernetes
