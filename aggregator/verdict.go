package aggregator

import "context"

// conclude says in the sink how a worker has ended of which not everything was relayed.
func (a *Aggregator) conclude(ctx context.Context, m *member, t *tending) {
	if t.done {
		return
	}
	a.log.Warn("a worker has ended before everything was relayed", "worker", m.worker.ID)
}
