package aggregator

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/driver"
)

// Config says which workers are relayed, and where to. Driver, Sink and WorkerKey are required; the zero value of every other field is good.
type Config struct {
	// Driver is of the owner whose tasks are the workers: that of the provisioner. It has to be able to dial and to tell events, see [driver.Dialer] and [driver.Eventer].
	Driver driver.Driver
	// Sink takes the builds.
	Sink sink.Sink
	// WorkerKey is that of the provisioner: see [github.com/wharfci/wharf/provisioner.Token].
	WorkerKey []byte
	// Name says who this is, to workers, to other aggregators and to people: at most 100 bytes. No two that run may have the same. Empty is the host's name and something random.
	Name string
	// Instances are the instances of wharf-api whose builds are relayed; none is all.
	Instances []string
	// Unstarted is how long the runtime may say why a worker whose turn has come does not run yet, such as that no node has room, before its build is failed; 0 is 15 minutes.
	Unstarted time.Duration
	// Scratch is a directory for copies of what workers have left that do not run any more, a few at a time; empty is the system's.
	Scratch string
	// Log takes what happens; nil is nothing.
	Log hclog.Logger
}

// Validate reports what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Driver == nil {
		fail("Driver is missing")
	}
	if c.Sink == nil {
		fail("Sink is missing")
	}
	if len(c.WorkerKey) < 16 {
		fail("WorkerKey has %d bytes; 16 are the least", len(c.WorkerKey))
	}
	if c.Unstarted < 0 {
		fail("Unstarted must not be negative")
	}
	if len(c.Name) > 100 || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' }) {
		fail("Name %q: must have 100 bytes at most, and no control characters", c.Name)
	}
	return errors.Join(errs...)
}

// complete fills in what is empty.
func (c *Config) complete() {
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = cmp.Or(host, "aggregator") + "-" + strings.ToLower(rand.Text()[:6])
	}
	if c.Unstarted == 0 {
		c.Unstarted = 15 * time.Minute
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
}

// copies is how many copies of what workers have left there are at once.
const copies = 4

// Bounds of what others may take.
const (
	askBound    = 30 * time.Second // an answer of a worker
	commitIdle  = 300 * time.Millisecond
	commitEvery = 5 * time.Second
	commitLines = 500_000
)
