// Package sinktest is the conformance suite of package sink: what the contract says in prose, it says in cases that run.
//
// Who writes a sink fills in a [Config], some functions that reach what the sink stores behind its back, and calls [Run] in a test:
//
//	func TestConformance(t *testing.T) {
//		sinktest.Run(t, sinktest.Config{
//			Open: func() (sink.Sink, error) { … },
//			Add:  func(id uint64) { … },
//			Read: func(id uint64) (sinktest.Build, error) { … },
//		})
//	}
//
// Each [Case] has a stable id, such as "lines/in-order", and the sentence of the contract that it checks, which is printed when it fails. Cases run side by side, each with a sink and builds of its own,
// and with a time limit. No case knows which sink runs, and none is skipped.
package sinktest
