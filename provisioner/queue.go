package provisioner

import (
	"cmp"
	"container/heap"
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
	byProject := map[string]*turn{}
	for _, w := range same {
		t := byProject[w.project]
		if t == nil {
			t = &turn{ahead: taken[w.project]}
			byProject[w.project] = t
		}
		t.queue = append(t.queue, w)
	}
	next := make(turns, 0, len(byProject))
	for _, t := range byProject {
		next = append(next, t)
	}
	heap.Init(&next)
	for len(next) > 0 {
		t := next[0]
		ordered = append(ordered, t.queue[0])
		t.ahead++
		taken[t.queue[0].project] = t.ahead
		if t.queue = t.queue[1:]; len(t.queue) == 0 {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
	}
	return ordered
}

// turn is what waits of one project, and how many of it run or stand ahead.
type turn struct {
	queue []waiting
	ahead int
}

// turns is a heap; the first is the one that comes next.
type turns []*turn

func (t turns) Len() int      { return len(t) }
func (t turns) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t turns) Less(i, j int) bool {
	a, b := t[i], t[j]
	return cmp.Or(cmp.Compare(a.ahead, b.ahead), a.queue[0].created.Compare(b.queue[0].created), cmp.Compare(a.queue[0].id, b.queue[0].id)) < 0
}
func (t *turns) Push(x any) { *t = append(*t, x.(*turn)) }
func (t *turns) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
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

// of returns the limits of a worker, in the order in which slots are taken.
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
