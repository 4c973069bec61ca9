package provisioner

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner/giturl"
)

// Config says where workers run, how many, and what they get. Driver, Image and WorkerKey are required; the zero value of every other field is good.
type Config struct {
	// Driver makes the workers. They are all its owner's tasks: nothing else may use that owner.
	Driver driver.Driver
	// Builds is a driver of the owner that the workers themselves use: what a worker that has died, or is deleted, has left is removed with it. Nil
	// leaves that to others.
	Builds driver.Driver
	// Access is what a worker needs to reach the runtime.
	Access Access
	// Image holds wharf and Git; see docs/provisioner.md. Pull says when it is fetched, Registry with which credentials.
	Image    string
	Pull     driver.PullPolicy
	Registry *driver.Credentials
	// Limits bound how many workers run at once.
	Limits Limits
	// Creates is how many workers are made at once; who asks for more waits for a turn. A runtime that works on few processors makes each of 32 in less time if they come a few at
	// a time. 0 is 16.
	Creates int
	// Policy says what may be cloned.
	Policy giturl.Policy
	// Clone says how.
	Clone Clone
	// Secrets is the installation's directory of project secrets, as "wharf run --secrets" takes it: a worker gets those of its project when it is asked for. Whoever may ask for
	// builds says which project one is of. Empty is none.
	Secrets string
	// WorkerKey, at least 16 bytes, is what the tokens of the workers' own API are made from: see [Token]. Provisioners and aggregators share it.
	WorkerKey []byte
	// Resources are those of the worker's container, not of the build's steps.
	Resources driver.Resources
	// Options are further arguments of "wharf worker", such as "--parallel=4".
	Options []string
	// Keep is how long a worker is kept that has ended and that nobody released; 0 is 24 hours.
	Keep time.Duration
	// Grace is how long a build that is deleted has to end; 0 is 30 seconds.
	Grace time.Duration
	// Log takes what happens; nil is nothing.
	Log hclog.Logger
}

// Access is how a worker reaches the runtime that its own container runs on, and no more than that.
type Access struct {
	// Driver is the name or URL of a driver, for use inside the container; empty is "auto".
	Driver string
	// HostPaths are sockets and directories of the host, by path in the container. The configuration of Config.Driver has to allow them.
	HostPaths map[string]string
	// Security is what the container needs besides.
	Security driver.Security
	// ServiceAccount is its identity, on runtimes that have such.
	ServiceAccount string
	// User of the container; empty is root, which on most runtimes owns the socket.
	User string
}

// Limits are how many workers may run at once, over all provisioners of a runtime. 0 is no limit, but for Total, where it is 100, Queue and Finished.
type Limits struct {
	Total, PerProject, PerInstance int
	// Queue is how many may wait; more are refused. 0 is 10,000.
	Queue int
	// Finished is how many are kept whose build has ended and that nobody has released; of more the oldest are removed, whatever Config.Keep says. 0 is 1,000.
	Finished int
}

// Clone says how workers clone.
type Clone struct {
	// SSHKey is used for SSH where the trigger brings no key; KnownHosts are the lines of known hosts' keys; CA are certificates to trust besides.
	SSHKey, KnownHosts, CA []byte
	// User for HTTPS, where the URL names none; empty is Git's own choice.
	User string
	// Timeout bounds a clone; 0 is 30 minutes.
	Timeout time.Duration
	// Depth is how many commits are fetched; 0 is 1.
	Depth int
}

// Validate reports what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Driver == nil {
		fail("Driver is missing")
	}
	if c.Image == "" {
		fail("Image is missing")
	}
	if len(c.WorkerKey) < 16 {
		fail("WorkerKey has %d bytes; 16 are the least", len(c.WorkerKey))
	}
	if l := c.Limits; min(l.Total, l.PerProject, l.PerInstance, l.Queue, l.Finished) < 0 {
		fail("Limits must not be negative")
	}
	if min(c.Keep, c.Grace, c.Clone.Timeout) < 0 || min(c.Clone.Depth, c.Creates) < 0 {
		fail("Keep, Grace, Clone and Creates must not be negative")
	}
	if info, err := os.Stat(c.Secrets); c.Secrets != "" && (err != nil || !info.IsDir()) {
		fail("Secrets: %q must be a directory", c.Secrets)
	}
	for in, host := range c.Access.HostPaths {
		if !path.IsAbs(in) || !path.IsAbs(host) {
			fail("Access.HostPaths: %q and %q must be absolute", in, host)
		}
	}
	return errors.Join(errs...)
}

// complete fills in what is empty.
func (c *Config) complete() {
	fill := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	fill(&c.Limits.Total, 100)
	fill(&c.Limits.Queue, 10_000)
	fill(&c.Limits.Finished, 1000)
	fill(&c.Creates, atOnce)
	fill(&c.Clone.Depth, 1)
	if c.Keep == 0 {
		c.Keep = 24 * time.Hour
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.Clone.Timeout == 0 {
		c.Clone.Timeout = 30 * time.Minute
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
}

// Token is what the API of a worker wants to be shown. Whoever has the key can reach every worker, and needs no store for that.
func Token(key []byte, worker string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("wharf worker token\x00" + worker))
	return hex.EncodeToString(mac.Sum(nil))
}
