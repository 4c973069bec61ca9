// Package wharfapiv5 is the part of wharf-api's gRPC API that Wharf calls, in Go: generated from builds.proto, which documents it.
package wharfapiv5
