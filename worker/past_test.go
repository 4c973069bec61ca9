package worker

import (
	"testing"
	"time"
)

// The clock may have been set, forwards or backwards, while no worker watched.
func TestLeft(t *testing.T) {
	for _, c := range []struct {
		name      string
		ago, want time.Duration
	}{
		{"just begun", 0, time.Hour},
		{"a while ago", 20 * time.Minute, 40 * time.Minute},
		{"over", 2 * time.Hour, noticeBound},
		{"the clock was set forwards by years", 100_000 * time.Hour, noticeBound},
		{"the clock was set back", -3 * time.Hour, time.Hour},
	} {
		if got := left(time.Hour, time.Now().Add(-c.ago)); got > c.want || got < c.want-time.Minute {
			t.Errorf("%s: %s are left, want %s", c.name, got, c.want)
		}
	}
	if got := left(time.Hour, time.Time{}); got != time.Hour {
		t.Errorf("of what was not begun %s are left", got)
	}
}
