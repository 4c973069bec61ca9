// Package docker is the driver for Docker Engine.
//
// # Requirements
//
// A Docker daemon with API 1.41 (Docker 20.10) or newer, on Linux, reached over a
// unix socket or TCP. Nothing needs to be installed in it: the one helper image, a
// program of some hundred bytes that sleeps or connects, is made by this package, for amd64 and arm64, and loaded
// when it is first needed, or with the first image that Pull fetches, as "localhost/wharf/pause". It stays there.
//
// # Capabilities
//
// Everything of [driver.Capabilities] but VolumeSize, VolumeUsage, Platforms and
// Placement. VolumeSubPath needs API 1.45 (Docker 26). What goes beyond the
// safe choice is claimed when [Config].Allow admits it.
//
// # How it maps
//
// A task is a container named wharf_OWNER_TASK; its handle begins with the container's
// id. A task with init containers or services has further containers, named
// wharf_OWNER_TASK_NAME, and one that sleeps and holds the network
// namespace. They find each other by a label with a random group id, which is in the handle too,
// so that a task of one container needs no look-up. Labels begin with "dev.wharfci."; those of the
// caller are kept under "dev.wharfci.label.".
//
// A volume is a Docker volume named wharf_OWNER_NAME. A sandbox is a sleeping
// container whose network namespace tasks join. [driver.NetworkOwn] is one bridge
// network, "wharf-own", on which containers do not reach each other; it is made when needed, and
// removed with its last user, or with any volume while it has none.
//
// A connection made by Dial is a container of the helper image in the network namespace of the main container, with the driver attached to
// its stdin and stdout; nothing is reached from the driver's own process, which may be on another machine. The daemon removes it when it has ended.
// It ends when the connection or the driver is closed, when its stdin ends because the process that dialled has died, and when both directions have
// ended; when the task has, the driver ends the one that is its own. One that was made and never started, for the same reason, goes with the next List
// that is without its task.
//
// Containers log with Docker's "local" driver, which keeps every byte, and never rotates: the disk of the
// daemon holds a task's whole output until Remove. A follower that came before the start reads
// the live stream; when it is too slow, or its connection breaks, it goes on from the log by count, and
// at the end what was delivered is compared with the end and the beginning of the log.
//
// Secrets are written into the containers when these are made, for which a daemon before Docker 23 starts a process each. With [Config].SealKey those of a task with
// init containers or services are kept until its start, encrypted (AES-256-GCM), in the environment of the container that holds the network namespace. That is for up
// to 64 KiB of a task; more, and those of a task without such a container, are written at once. The encrypted ones stay there until Remove.
//
// How a task ended is the daemon's record in the container's state. What Docker has no
// place for (stopped before its start, init container or service failed) is noted in the
// restart policy of a container that will not be started any more: the one property that can be changed, shows
// in inspect, and is told to others as an event.
//
// # Limits
//
// When two processes start one task, and the first is slow, an init container may run once more after its end: the start of one that has ended does that, and nothing can be
// asked for that would start it only if it has not.
//
// A command run by Exec goes on when its context ends: Docker cannot end it. Dial takes as long as to start a container. Services are
// ended, when the main container has, by any process that called Start, Wait or Logs with Follow and still lives;
// when there is none, they run until Remove. Secrets are files in the container's own layer, on
// the daemon's disk until Remove; they cannot be put below a mount or into a read-only root.
// Docker may note nothing of a kill for want of memory on a busy machine. So Wait holds a failure under a memory limit
// back for up to half a second until it is known, which costs nothing otherwise; and a main process that is killed in its
// first second under such a limit, and by nobody who asked Docker, is out of memory, also when it killed itself. Of a child
// that is killed in the first moment nobody is told.
// Docker 24.0.0 to 24.0.2 recorded exit code 0 for containers that were lost in a crash of the host
// (moby issue 45788): with these versions an exit code 0 that the driver did not see itself is Unknown.
package docker
