package watchdog

import (
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// key is what may be alone: a build, or a worker as it is. One that was made anew is another, and so is one that has ended since: whoever relays it has the time of grace from then.
type key struct {
	build   uint64
	worker  string // empty of a build
	created int64
	final   bool
}

func keyOf(w *provisioner.Worker) key {
	return key{build: w.Build, worker: w.ID, created: w.Created.UnixNano(), final: w.State.Final()}
}

// sight is what looks have seen of one.
type sight struct {
	first time.Time     // when it was alone first
	seen  time.Duration // how long since, less the time in which nobody could look
	looks int           // how many have seen it; none has seen it otherwise
	tries int           // how often it was to be ended
	told  bool          // the sink has the line, or, in a dry run, the log has what would be done
}

// ledger is what was seen.
type ledger struct {
	of     map[key]*sight
	last   time.Time     // of the last look
	broken bool          // one has failed since
	most   time.Duration // what may pass between two looks; more was not watched
}

// fail notes that a look has failed: until the next one nobody knows what happens.
func (l *ledger) fail() { l.broken = true }

// note takes in what a look has seen alone; what it has not is forgotten.
func (l *ledger) note(now time.Time, alone []key) {
	passed := min(now.Sub(l.last), l.most)
	if l.broken || l.last.IsZero() || passed < 0 {
		passed = 0
	}
	l.last, l.broken = now, false
	before := l.of
	l.of = make(map[key]*sight, len(alone))
	for _, k := range alone {
		s := before[k]
		if s == nil {
			s = &sight{first: now}
		} else {
			s.seen += passed
		}
		s.looks++
		l.of[k] = s
	}
}

// due reports whether something was seen for long and often enough.
func (s *sight) due(grace time.Duration, looks int) bool { return s.seen >= grace && s.looks >= looks }
