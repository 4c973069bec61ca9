// Package containerd is the driver for containerd.
//
// # Requirements
//
// A containerd 1.6 or newer on the same Linux machine, with the runtime io.containerd.runc.v2, and root: the driver mounts,
// enters namespaces, and reads files that containerd's shims write. A kernel of 5.2 or newer. For
// tasks with a network, the CNI plugins bridge, host-local and firewall (1.1 or newer) and iptables. Several processes that share tasks
// use the same directories ([Config].Root and State).
//
// # Capabilities
//
// Everything of [driver.Capabilities] but VolumeSize, Platforms and Placement. What goes beyond the safe choice is
// claimed when [Config].Allow admits it.
//
// # How it maps
//
// All is in one namespace of containerd, "wharf", so that images are pulled and unpacked once for all owners; whose a
// container is says a label, and what has no label of this package is never touched. A container's id is made of
// owner and name: containerd refuses a second one. A task with init containers or services has further containers, with
// the same label "dev.wharfci.uid". Labels of the caller follow "dev.wharfci.label.".
//
// A container's process is started by containerd's shim, and its record stays until Remove. What containerd has no
// place for (stopped before its start, init container failed) is noted in labels of the main container, which others are told of as an event.
// That a process is about to be started is noted in a file beside its log before it is; a container
// that has that file and no record any more was lost, and is never started again.
//
// A volume is a directory below Root. A network is a namespace, kept as a file below State on which it
// is mounted, and connected by CNI with a configuration of our own: one bridge for the
// default network, and one whose ports are isolated from each other for [driver.NetworkOwn]. A task's is connected when it is started, so that those that wait have no address and cost no time; a sandbox's
// when it is made. A sandbox is such a namespace without a task.
// Secrets are files below State. Files are copied by a thread that has the container's file system as its root: that of
// the running container, or else its snapshot and volumes, mounted for that thread alone. So no link leads out, and no
// mount outlives the copy, or the process.
//
// Out of memory is read from the container's control group, which stays as long as the record: containerd's event of it may come
// after the exit, or never (containerd issue 8180).
//
// # Logs
//
// The shim appends standard output and standard error each to a file of the task's directory. Of the designs that
// containerd offers this was chosen because a shim outlives whoever started the task and loses
// nothing, reading costs nobody else anything, and a start costs nothing more. Pipes (FIFOs) read by us would stop with
// us; a logging program of our own ("binary://") would have to be this very program started once more for each
// container, with a hook in its main function and some ten milliseconds of every start.
//
// What the files lack are times. The process that started a task, and each that follows its log, notes beside a file how large it was
// when it was last changed, at most a thousand times a second; a line has the time of the first such mark behind it. So the time is that of the writing to some
// milliseconds, on a machine that is not overloaded, also for one who reads later. What is printed while none of these processes lives
// has the time at which the next of them noted a change, or else that of the file's last change: an upper bound. The order of the two streams is not known.
//
// When the disk is full, the shim gives up copying without a word. A process that started or follows the task sees that a log was closed on a full disk,
// and marks it: every reader then ends with ResourceExhausted, and not as if it were whole.
//
// Readers follow with inotify. A stream is at its end when its container is and no process has its file open for writing any more, which
// the kernel tells by granting a lease; so a shim that is still copying is waited for, and one that died is not.
//
// # Limits
//
// A task's log is on the machine's disk until Remove, and has no limit. When that disk is full, what is
// printed later is lost, and the process stands still when its pipe is full. Root must be on a file system with leases and inotify, which network file
// systems are not. Commands run by Exec end with their context, but not what they started. Services are ended, when the
// main container has, by any process that called Start or Logs and still lives; when there is none, they run until
// Remove. A machine that was restarted has no networks of before: tasks not yet started, and sandboxes, must be made again.
// What a process has left that was killed while it made a task goes with the next Create or List of its owner.
// In the process namespace of a container, as workers are, the driver cannot end a shim that hangs, and says so.
// A KILL that this package did not send is held back for up to a second: a removal by others begins with one. After the last
// task, the two bridges, without anything on them, and their firewall chains stay.
package containerd
