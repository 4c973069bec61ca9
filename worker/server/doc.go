// Package server serves the API of a worker (api/worker/v1) over the journal of one build, while the build runs and afterwards, until it is told that
// everything was taken.
//
// Clients read the files, each at its own pace: one that is slow, or stops reading, costs the build nothing and the process what flow control allows it, some
// hundred KiB. Every call but those of the health service needs the worker's token. Whoever has it may read the whole build and cancel it.
//
// [Server.Handler] has what is for machines that watch: /healthz, /readyz and /metrics.
package server
