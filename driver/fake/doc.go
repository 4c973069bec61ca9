// Package fake is a container runtime in memory, with a driver for it. It is the
// reference of the contract in package driver, and what tests of programs above a
// driver use: nothing is faked that the contract speaks of. Tasks have file systems, users, volumes,
// logs, signals and memory limits; what they run are Go functions.
//
//	rt := fake.New(fake.Config{Programs: map[string]fake.Program{
//		"make": func(ctx context.Context, p *fake.Proc) int {
//			fmt.Fprintln(p.Stdout(), "built")
//			return 0
//		},
//	}})
//	d := rt.Open("me")
//	defer d.Close()
//
// A [Runtime] is the daemon: it outlives driver values, and several of them, for one owner or
// for many, work on it as several processes would. [Runtime.Remove], [Runtime.Signal], [Runtime.Evict]
// and [Runtime.Down] are what happens to tasks from outside. [Driver.Inject] makes calls of one driver value
// fail or hang, [Driver.Cut] cuts its connection.
//
// # Requirements
//
// None.
//
// # Capabilities
//
// Exec, Dial, Events, Pull, Stats, Sandboxes, Init, Services, own and no network, name servers, hosts, host name,
// sub-paths and usage of volumes, limits, secrets; with [Runtime.OpenAllowing], also privileged containers, more capabilities and
// new privileges. What [driver.Capabilities] does not claim is refused.
//
// # How it maps
//
// A task is a goroutine, and each of its processes is one. A process that is killed stops at its next call of a
// method of [Proc], which does not return; its context ends at once. Networks are maps from port to listener. There are no
// processors: [Proc.Burn] gets as much of their time as the limit allows.
//
// # Limits
//
// Logs and files are kept in memory. A program that neither calls methods of Proc nor looks at its context goes on after
// its process was killed; nothing it does is seen.
package fake
