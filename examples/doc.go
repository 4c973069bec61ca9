// Package examples holds projects with a .wharf-ci.yml that really build, and for each runtime a program that runs a container with its
// driver. It has no code itself: its tests run them, and Wharf's own build, with the command on a real runtime.
package examples
