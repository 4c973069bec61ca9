// Package remote lets a process use the driver of another one, by a socket between them: [Serve] answers with a driver what a [Driver] is asked for.
//
// Some drivers have to be in a certain place: containerd's acts in the mounts and networks of its machine, which a process in a
// container does not see. Then one process has the driver there, and another uses it from where it is.
//
// # Requirements
//
// A connection that delivers bytes in order and can be closed for one direction, such as a Unix socket. Whoever can connect may do all that the driver can:
// there is no authentication, and nothing is encrypted.
//
// # Capabilities
//
// Those of the other driver, whose contract holds here too.
//
// # How it maps
//
// Each call has a connection of its own, with frames on it: a kind (one byte), a length (four bytes, the highest first), and as many bytes. The
// first is the call, in CBOR (RFC 8949), and the last one the answer. Streams come between, either way, the caller's with as much ahead as the other side
// has room for. Who cancels a call says so, and waits for the answer: a call that was cancelled has cleared up when it returns, as the
// contract wants it. An error keeps its operation, subject, words and class; other types of errors do not come across.
//
// # Limits
//
// When a connection breaks, as when the other process dies, a call that may be repeated is, for up to [Config].Patience; logs and events go on where they were. Create,
// CopyIn, CopyOut, Exec, Pull, CreateVolume and CreateSandbox return Unavailable, and what the other side had begun is cleared up only if it lives. Both
// sides have to be of the same version.
package remote
