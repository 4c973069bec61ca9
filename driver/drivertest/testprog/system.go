package testprog

import (
	"io"
	"io/fs"
	"net"
	"time"
)

// System is what a process sees of the machine it runs on. Paths may be relative to
// the working directory. Errors match those of io/fs where these fit.
type System interface {
	// Args is the whole argument vector.
	Args() []string
	// Environ is the environment, "NAME=value" each.
	Environ() []string
	Stdout() io.Writer
	Stderr() io.Writer
	Getwd() (string, error)
	Hostname() (string, error)
	// IDs are the user, the group, and the further groups.
	IDs() (uid, gid int, groups []int)
	Now() time.Time

	// Signals catches TERM, INT, HUP and USR1 from the first call on; each is a number in the channel.
	Signals() <-chan int
	// Kill makes the process die by signal 9. It does not return.
	Kill()
	// Pause blocks until the process is killed.
	Pause()
	// Eat uses up n bytes of memory until the process ends.
	Eat(n int64)
	// Spawn starts the program again as a child with these arguments and the same standard
	// streams. The function that it returns waits for the child and returns its exit code,
	// as a shell would show it.
	Spawn(args ...string) (wait func() int, err error)

	// Linger blocks for that long.
	Linger(d time.Duration)
	// Burn keeps every processor busy for that long, and returns the processor time that the process has got.
	Burn(d time.Duration) time.Duration
	// Capabilities are those in effect, a bit each.
	Capabilities() (uint64, error)
	// EUID is the user that the process acts as.
	EUID() int

	// Listen listens on a TCP address such as "127.0.0.1:80" or ":80".
	Listen(address string) (net.Listener, error)
	// Dial connects to a TCP address. The connection has a method CloseWrite.
	Dial(address string) (net.Conn, error)
	// Addresses are the machine's own but those of the loopback device.
	Addresses() ([]string, error)
	// Lookup returns the addresses of a host name, sorted.
	Lookup(host string) ([]string, error)
	// ServeNames is a name server at localhost that knows one name, until the process ends. It calls ready when
	// it can be asked.
	ServeNames(name, address string, ready func()) error

	// Await blocks until the path exists. Its directory must exist already.
	Await(path string) error
	// Lstat's result has a Sys that is an [Inode].
	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
	// ReadDir returns the names in a directory, sorted.
	ReadDir(path string) ([]string, error)
	Open(path string) (io.ReadCloser, error)
	// Create makes or truncates a file.
	Create(path string, perm fs.FileMode) (io.WriteCloser, error)
	Mkdir(path string, perm fs.FileMode) error
	Symlink(target, path string) error
	Link(old, path string) error
	Chmod(path string, mode fs.FileMode) error
	Chown(path string, uid, gid int) error
	Chtimes(path string, mtime time.Time) error
	Remove(path string) error
}

// Inode is what [fs.FileInfo] does not say of a file.
type Inode interface {
	Owner() (uid, gid int)
	Links() int
	Number() uint64
}
