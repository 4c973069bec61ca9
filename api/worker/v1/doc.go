// Package workerv1 is the API of a worker in Go: generated from worker.proto, which documents it. [github.com/wharfci/wharf/worker/client] is easier
// to use.
package workerv1

//go:generate sh -c "cd ../../.. && go tool -modfile=tools/proto/go.mod buf generate"
