// Package testprog is the program that the conformance suite runs in its tasks. It
// is the only file of the suite's images, which have neither shell nor tar, and knows
// a few verbs: print, exit, write a file, wait for a signal, and so on.
//
// The verbs see the world through [System] only. In a container that is the operating
// system ([OS]); in an in-memory driver it is whatever that driver gives its
// processes. So a case of the suite means the same on both.
package testprog
