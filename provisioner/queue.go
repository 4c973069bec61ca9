package provisioner

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"
)

// waiting is what the order of the queue depends on.
type waiting struct {
	id       string
	project  string
	priority int
	created  time.Time
}

// arrange returns what waits in the order in which it is to start: what has a larger priority first; then projects take turns, the one of which
// the fewest run or stand further ahead comes next; then the oldest. The order is a function of its arguments alone, so that several
// provisioners have the same.
func arrange(all []waiting, running map[string]int) []waiting {
	slices.SortFunc(all, func(a, b waiting) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	taken := map[string]int{}
	for project, n := range running {
		taken[project] = n
	}
	ordered := make([]waiting, 0, len(all))
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].priority == all[0].priority {
			n++
		}
		ordered = takeTurns(ordered, all[:n], taken)
		all = all[n:]
	}
	return ordered
}

// takeTurns appends those of one priority, which are sorted by age.
func takeTurns(ordered, same []waiting, taken map[string]int) []waiting {
	queues := map[string][]waiting{}
	for _, w := range same {
		queues[w.project] = append(queues[w.project], w)
	}
	for range same {
		var next string
		first := true
		for project, q := range queues {
			if first || cmp.Or(cmp.Compare(taken[project], taken[next]), q[0].created.Compare(queues[next][0].created), cmp.Compare(q[0].id, queues[next][0].id)) < 0 {
				next, first = project, false
			}
		}
		ordered = append(ordered, queues[next][0])
		taken[next]++
		if queues[next] = queues[next][1:]; len(queues[next]) == 0 {
			delete(queues, next)
		}
	}
	return ordered
}

// projectKey tells projects apart.
func projectKey(w *Worker) string {
	return w.Instance + "\x00" + strconv.FormatUint(w.Project.ID, 10) + "\x00" + w.Project.Group + "\x00" + w.Project.Name
}

// limit is a bound that a worker counts against.
type limit struct {
	name string // of its slots
	most int
	what string // for a person
}

// of returns the limits of a worker, in the order in which slots are taken: who has the last one has them all.
func (l *Limits) of(w *Worker) []limit {
	var all []limit
	if l.PerInstance > 0 {
		all = append(all, limit{"i-" + short(w.Instance), l.PerInstance, "workers of this instance run"})
	}
	if l.PerProject > 0 {
		all = append(all, limit{"p-" + short(projectKey(w)), l.PerProject, "workers of this project run"})
	}
	return append(all, limit{"all", l.Total, "workers run"})
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
