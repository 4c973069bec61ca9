package watchdog

import (
	"fmt"
	"time"
)

// Words begin the line that a build without a worker gets. By them a watchdog that was killed before the build had failed knows that it has written it, so they never change. A build that prints
// them itself gets no such line, and fails likewise.
const Words = "wharf: no worker was found for this build, so it has failed: "

// at is a time as people read it.
func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// words are the line.
func (w *Watchdog) words(a *action) string {
	had, since := w.had[a.build.ID], at(a.sight.first)
	what := fmt.Sprintf("there has been none since %s, when this was noticed, and perhaps there never was one; the request for it may have been lost", since)
	switch {
	case had.id != "":
		what = fmt.Sprintf("its worker %s was %s at %s, and has been missing since %s", had.id, had.state, at(had.at), since)
	case a.build.Worker != "":
		what = fmt.Sprintf("its worker %s has been missing since %s, when this was noticed", a.build.Worker, since)
	}
	return Words + what + ". Start the build again. What became of the worker, the logs of the provisioner and of its runtime may tell."
}
