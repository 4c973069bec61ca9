package sinktest

import (
	"errors"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

// Config is what the suite needs to know of a sink. Its functions may be called by many goroutines at once.
type Config struct {
	// Open returns a new sink. All of them are of the same store. The suite closes it. Required.
	Open func() (sink.Sink, error)
	// Add adds a build that is Scheduling; the suite never adds one twice, and begins with 1. Required.
	Add func(id uint64)
	// Read returns what is stored of a build, without the sink's help. Required.
	Read func(id uint64) (Build, error)

	// MakesBuilds says that the sink makes a build that it does not know when something is written of it. Else that is NotFound.
	MakesBuilds bool
	// KeepsFinal says that the store keeps a final state, whoever sets another one. Else only the report that has set it does.
	KeepsFinal bool
	// Stall has the store take nothing, without an answer, until resume is called. If it is nil, only contexts that have ended before a call are tried. No other case runs meanwhile.
	Stall func() (resume func())
	// Precision is what times of lines are rounded down to; 0 is a nanosecond.
	Precision time.Duration
	// Slow multiplies every time limit; 0 is 1.
	Slow float64
}

// Build is what a store has of a build.
type Build struct {
	Status sink.Status
	// History are the states that it had, in order; nil if that is not known.
	History []sink.Status
	// Lines are in the order of the store. Step and Entry are not looked at.
	Lines []sink.Line
	Files []File
}

// File is an artifact that is stored.
type File struct {
	Name    string
	Content []byte
}

func (c *Config) complete() error {
	if c.Open == nil || c.Add == nil || c.Read == nil {
		return errors.New("sinktest: the configuration lacks Open, Add or Read")
	}
	if c.Slow == 0 {
		c.Slow = 1
	}
	if c.Precision == 0 {
		c.Precision = time.Nanosecond
	}
	return nil
}
