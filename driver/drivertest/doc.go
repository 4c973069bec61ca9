// Package drivertest is the conformance suite of package driver: what the contract
// says in prose, it says in cases that run. It serves whoever writes a driver, and whoever wants to know
// what a certain runtime on a certain machine can be trusted with.
//
// A driver's author fills in a [Harness], some functions that reach the runtime
// behind the driver's back, and calls [Run] in a test:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Open: func(ctx context.Context, owner string) (driver.Driver, error) { … },
//			Load: func(ctx context.Context, image io.Reader) error { … },
//			…
//		})
//	}
//
// A program calls [Check], which needs no testing.T. [RunFaults] runs a part of the cases again while the connection to
// the runtime is cut and restored at random moments.
//
// Each [Case] has a stable id, such as "results/exit-code-0", and the sentence of the contract that it
// checks, which is printed when it fails. Cases run side by side, each under an owner of its own,
// with a time limit; after each, the runtime must hold nothing of that owner, and after all,
// no goroutine and no file descriptor may be left in the process. No case knows which driver
// runs, and none is skipped: an ability that [driver.Capabilities] does not claim must be
// refused with [driver.ErrUnsupported].
//
// The cases of images pull from registries that the suite serves on this machine, and the cases of networks
// stay on it: nothing beyond it is reached.
//
// Tasks run a program of the suite's own, package testprog, from two images
// without shell or tar ([Image] and [UsersImage]) that the suite builds and hands to Harness.Load.
package drivertest
