// Package podman is the driver for Podman, over its own (libpod) REST API.
//
// # Requirements
//
// A Podman service of version 4.3 or newer, of root or rootless, reached over a unix socket or TCP:
// "podman system service", or the unit podman.socket. Nothing needs to be installed in it: the two helper images, a program
// of some hundred bytes that sleeps or connects, and one of two kilobytes that reads files, are made by this package and loaded when they are first
// needed (the first also with the first image that Pull fetches), as "localhost/wharf/pause" and "localhost/wharf/walk". They stay there. Events must not be switched off in containers.conf (events_logger "none"). Without root, networks need
// what Podman's own command needs, and limits need a delegated control group of version 2.
//
// # Capabilities
//
// Everything of [driver.Capabilities] but VolumeSubPath, VolumeSize, VolumeUsage, Platforms and
// Placement. NetworkOwn is not claimed with netavark below 1.5, or of unknown version: that loses its rules of isolation. Limits are claimed of a rootless service only if their controllers are delegated. What goes beyond the
// safe choice is claimed when [Config].Allow admits it.
//
// # How it maps
//
// A task is a container named wharf_OWNER_TASK; its handle begins with the container's
// id. A task with init containers or services has further containers, named
// wharf_OWNER_TASK_NAME, and one that sleeps and holds the network
// namespace, from Create on. They find each other by a label with a random group id, which is in the handle too.
// Labels begin with "dev.wharfci."; those of the caller are kept under "dev.wharfci.label.".
//
// A volume is a Podman volume named wharf_OWNER_NAME. A sandbox is a sleeping container whose network namespace tasks
// join; when it is removed while tasks are in it, its network ends, and its container goes with the last of them.
// [driver.NetworkOwn] is a bridge network of the task's own, isolated from others, which is removed with it.
//
// A connection made by Dial is a container of the first helper image in the network namespace of the main container, with the driver attached to
// its stdin and stdout; nothing is reached from the driver's own process, which may be on another machine. It joins by the path of the namespace, so that it does not
// stand in the way of the task's removal as a dependent container. Podman removes it when it has ended: when the connection or the driver is closed, when its
// stdin ends because the process that dialled, or the service, has died, and when both directions have ended; when the task has, the driver ends the one that is
// its own. One that was made and never started goes with the next List that is without its task.
//
// Containers log to a file (driver "k8s-file") that never rotates. A follower that came before the start reads the live
// stream, for which Podman prepares the container ("initialized"); at the end what was delivered is compared with the end
// and the beginning of the file, and what is missing is read from there, by count. A follower that came late reads the
// file again whenever it has grown, since Podman's own following loses lines of a container that prints fast.
//
// When Podman loses a container to which somebody is attached, it says so in the stream, as if the container had printed that on its standard
// error. Such words are taken out: a log goes on in the file, without a loss, and whoever attached for anything else is told that the stream broke off.
//
// How a task ended is Podman's record. What Podman has no place for (stopped before its start, could not be started, init
// container or service failed) is a mark: an empty volume, named after the container, with labels. It is removed
// with the task.
//
// The client is a plain one of net/http: Podman's own, its connection alone, brings 24 further modules.
//
// # Limits
//
// When two processes start one task, and the first is slow, an init container may run once more after its end: the start of one that has ended does that, and nothing can be
// asked for that would start it only if it has not.
//
// CopyOut starts a helper container that reads the files: Podman's own archives give every file the same owner. CopyIn finds
// the mounts of a task by their paths, not through symbolic links: a link of the image that leads to a mount leads below it until
// the task runs. A hard link from one mount to another is refused.
//
// On a full disk conmon drops output without a word. Who follows live misses nothing, or is told. For who comes later the log ends with
// ResourceExhausted if the disk still has no room, or if its last entry is torn; if there was room again for later entries, what is missing shows nowhere.
//
// A main process that was killed, and by nobody who asked Podman for it, is told of up to a second later: a removal begins like
// that, and is Lost.
//
// A command run by Exec goes on when its context ends. Dial takes as long as to start a container. Services are ended, when the main container has, by any process that
// called Start, Wait or Logs with Follow and still lives; when there is none, they run until Remove. Secrets are the
// service's own, under random names, while the task is made, and copies beside its containers until Remove; one that is empty, or of 512,000 bytes and more, is a file in
// the container's layer. Where a container has any, its /run/secrets is a directory that Podman mounts, whatever the image has there; and the files can be neither removed nor replaced by the task. They cannot be put below a mount or into a read-only root.
//
// A process that follows a task which another process starts and which ends within the same instant can make Podman
// prepare the ended container again, which forgets the exit code: the result is then unknown, never a success.
// On control groups of version 1 Podman misses kills for want of memory: a main process under a memory limit that was
// killed, and by nobody who asked Podman, is taken for one; of a killed child nobody is told.
package podman
