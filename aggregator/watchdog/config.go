package watchdog

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/provisioner/client"
)

// Config says what is compared, and what is done then. Sink and Provisioners are required; the zero value of every other field is good.
type Config struct {
	// Sink has the builds.
	Sink sink.Sink
	// Provisioners have the workers: all that run builds of the sink. Some may serve one runtime. If one does not answer, nothing is done.
	Provisioners []*client.Client
	// Instances are the instances of the sink, as its triggers name them: workers of others are none of its own. Empty is all, as long as the workers that there are belong to one.
	Instances []string
	// Engines are the IDs of the sink's engines that stand for these provisioners: builds of others, and those of which the sink does not tell it, do not fail. Empty is all.
	Engines []string
	// Grace is how long something must be missing or unwanted; 0 is five minutes.
	Grace time.Duration
	// Every is how often it is looked; 0 is 30 seconds.
	Every time.Duration
	// Most is how many builds and workers are ended after one look; 0 is 20. What is left is done after the next.
	Most int
	// DryRun says what would be done, and does nothing.
	DryRun bool
	// Force does what is to be done also if that is most of what there is.
	Force bool
	// Log takes what happens; nil is nothing.
	Log hclog.Logger
}

// Validate reports what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Sink == nil {
		fail("Sink is missing")
	}
	if len(c.Provisioners) == 0 {
		fail("Provisioners is empty: without one every build would be missing")
	}
	if c.Grace < 0 || c.Every < 0 || c.Most < 0 {
		fail("Grace, Every and Most must not be negative")
	}
	return errors.Join(errs...)
}

// complete fills in what is empty.
func (c *Config) complete() {
	c.Grace, c.Every, c.Most = cmp.Or(c.Grace, 5*time.Minute), cmp.Or(c.Every, 30*time.Second), cmp.Or(c.Most, 20)
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
}

// Bounds of what others may take, and of what is done.
const (
	askBound    = 30 * time.Second // an answer of a provisioner
	failBound   = 10 * time.Minute // a build's end, with a look at all of its lines
	deleteBound = 5 * time.Minute  // a worker's, which has the provisioner's time of grace
	writeBound  = time.Minute      // from the last look at a build to what is written of it
	atOnce      = 10               // how many are ended at the same time
)

// What is taken for a mistake of somebody else: more than so many at once, and more than half.
const mostAtOnce = 5

// leastLooks is how often a worker must be seen to be unwanted: a list of builds in pages may miss one that moves between them.
const leastLooks = 3
