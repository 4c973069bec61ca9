package provisioner

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

func TestArrange(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for name, c := range map[string]struct {
		queue   []waiting
		running map[string]int
		want    string
	}{
		"nothing":         {},
		"oldest first":    {queue: []waiting{{"b", "p", 0, at(2)}, {"a", "p", 0, at(1)}, {"c", "p", 0, at(3)}}, want: "a b c"},
		"priority first":  {queue: []waiting{{"a", "p", 0, at(1)}, {"b", "p", 5, at(2)}, {"c", "p", -1, at(0)}}, want: "b a c"},
		"in turns":        {queue: []waiting{{"a1", "a", 0, at(1)}, {"a2", "a", 0, at(2)}, {"a3", "a", 0, at(3)}, {"b1", "b", 0, at(4)}, {"b2", "b", 0, at(5)}}, want: "a1 b1 a2 b2 a3"},
		"who runs waits":  {queue: []waiting{{"a1", "a", 0, at(1)}, {"b1", "b", 0, at(2)}}, running: map[string]int{"a": 2, "b": 1}, want: "b1 a1"},
		"many that run":   {queue: []waiting{{"a1", "a", 0, at(1)}, {"b1", "b", 0, at(2)}, {"b2", "b", 0, at(3)}, {"b3", "b", 0, at(4)}}, running: map[string]int{"a": 2}, want: "b1 b2 a1 b3"},
		"the same moment": {queue: []waiting{{"b", "p", 0, at(1)}, {"a", "p", 0, at(1)}}, want: "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range arrange(slices.Clone(c.queue), c.running) {
				got = append(got, w.id)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("the order is %s; want %s", s, c.want)
			}
		})
	}
}

// TestLabels reads back what labels hold, whatever it is.
func TestLabels(t *testing.T) {
	for _, value := range []string{"", "main", strings.Repeat("ä", 150), "tab\there", "100%", "%41", "line\nfeed", strings.Repeat("x", 200), strings.Repeat("%", 90)} {
		labels := map[string]string{}
		spread(labels, "branch", value)
		if err := driver.ValidLabels(labels); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		if got := gather(labels, "branch"); got != value {
			t.Errorf("%q is read back as %q", value, got)
		}
	}
}
