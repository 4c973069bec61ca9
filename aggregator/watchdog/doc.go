// Package watchdog compares the builds that a sink takes for active with the workers that provisioners have, and ends what is on one side alone.
//
//	w, err := watchdog.New(watchdog.Config{Sink: s, Provisioners: []*client.Client{c}})
//	err = w.Run(ctx)
//
// # Why beside the aggregator
//
// An aggregator says of every worker that it has seen how its build has ended. It says nothing of a build whose worker it never saw: one that was lost with its machine while no aggregator ran,
// or that was never made, because the trigger did not arrive. Such a build would be active at the sink for ever. Nothing tells of an absence, so it is looked for again and again.
//
// # What it does
//
//   - A build that is active at the sink, and that no provisioner has a worker of, gets one line that says so, and has failed then.
//   - A worker whose build is not active at the sink is deleted.
//
// Each only after it was so in every look during the time of grace. Time in which somebody did not answer does not count: who comes back has time to tell what has happened meanwhile. And each is
// looked at once more before anything is done.
//
// If more than half of the builds, or of the workers, seem to be alone at once, it is more likely that the watchdog is wrong, or that a provisioner or the sink is. Then nothing is done but to say so.
//
// # Once
//
// A watchdog keeps nothing. One that was killed between the line and the state finds the line by how it begins; see [Words]. Two that run at once do not see each other, and may both write it: one is
// enough, since nothing is lost while it is away.
package watchdog
