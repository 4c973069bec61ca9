// Package aggregator relays what workers keep to a sink, each line exactly once, whatever dies on the way, and says there how builds have ended whose worker cannot any more.
//
//	a, err := aggregator.New(aggregator.Config{Driver: d, Sink: s, WorkerKey: key})
//	err = a.Run(ctx)
//
// # How a build is relayed
//
// The workers are the tasks of a provisioner, found by their labels. Each is dialled through its runtime, and claimed; of several aggregators one has the claim, and the others wait for it at the
// worker, so that they have it as soon as it is free. Who has it asks the sink how many lines that has, reads the journal up to there without its text, and goes on. Nothing is kept anywhere else.
// When the sink has the last line and the last artifact, it is told how the build has ended, and the worker is released, which ends it.
//
// A sink may not be idempotent. So who writes does it under a lease of the claim: a process that was paused or cut off, and that another stands in for meanwhile, writes nothing any more. Where it is not
// known what has arrived of what was sent, the sink is asked.
package aggregator
