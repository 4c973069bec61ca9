// Package client reads a build from the worker that runs it, and acts on it, by the API of api/worker/v1.
package client
