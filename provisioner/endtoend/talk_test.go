package endtoend

import (
	"fmt"
	"strings"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// talking is a build that prints so many numbered lines at once, again and again with a pause in seconds, until the desk lets it go, and then how many there were.
func (d *desk) talking(lines int, seconds float64) string {
	return fmt.Sprintf(`
talk:
  lines:
    container:
      image: %s
      cmds:
        - |
          (
            i=0
            while [ ! -e enough ]; do
              end=$((i+%d))
              while [ $i -lt $end ]; do i=$((i+1)); echo "build ${BUILD_REF} line $i"; done
              sleep %g
            done
            echo "these were $i lines"
          ) & talker=$!
          wget -q -O /dev/null %s/begin/${BUILD_REF}
          touch enough
          wait $talker
          wget -q -O /dev/null %s/end/${BUILD_REF}
`, stepImage, lines, seconds, d.url, d.url)
}

// letAll lets all go that the desk keeps waiting, and those that come.
func (d *desk) letAll() { d.note(func() { d.pass = anybody }) }

// complete checks that wharf-api has all that a talking build has printed, and in order, and returns how many lines that is.
func (s *system) complete(b *wharfapitest.Build) int {
	s.t.Helper()
	if b.Status != "Completed" {
		s.t.Errorf("build %d is %s: %v", b.ID, b.Status, b.History)
	}
	n := 0
	for _, l := range b.Lines {
		switch {
		case strings.HasPrefix(l.Message, "wharf: "):
			s.t.Logf("build %d: %s", b.ID, l.Message)
		case strings.HasPrefix(l.Message, "these were "):
			if want := fmt.Sprintf("these were %d lines", n); l.Message != want {
				s.t.Errorf("build %d: %q, and %d were stored", b.ID, l.Message, n)
			}
			n = -1
		default:
			n++
			if want := fmt.Sprintf("build %d line %d", b.ID, n); l.Message != want {
				s.t.Errorf("build %d: a line is %q; want %q", b.ID, l.Message, want)
				return 0
			}
		}
	}
	if n != -1 {
		s.t.Errorf("build %d: the last line is missing, of %d", b.ID, len(b.Lines))
	}
	return len(b.Lines)
}
