// Package provisioner starts a worker for every build that is asked for, in a container on whatever runtime a [driver.Driver] speaks to, when its
// turn has come, and removes it when it is done with.
//
//	p, err := provisioner.New(provisioner.Config{Driver: d, Image: "registry.example/wharf/worker:1", WorkerKey: key})
//	go p.Run(ctx)
//	http.ListenAndServe("127.0.0.1:5009", p.Handler(provisioner.Gate{Tokens: map[string]string{"wharf-api": token}}))
//
// # The runtime is the database
//
// A provisioner keeps nothing. A worker is a task that was created; the queue are those that were not started; its labels say which build it is for. A provisioner that was
// killed is started again, or another goes on, and several may serve one runtime. Three things in the runtime keep them from getting into each other's way:
//
//   - A task's name is made from instance and build, and the runtime makes one name once: a build that is asked for twice has one worker.
//   - Start does nothing the second time: whoever finds a worker whose turn has come may start it.
//   - A worker needs a slot of each limit before it is started: a volume. Slots are made before they are counted, so no number of provisioners starts more than there may be.
//
// # States
//
// That a worker is queued, being prepared or has ended is the runtime's word. That it clones, builds, and how its build ended it says itself, in lines of package report that it
// prints, and that the runtime keeps with its log. Of a worker that ended without that, the runtime's exit code decides; where that says nothing either, it is Lost.
package provisioner
