//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInterruptsRememberWhatCameBefore(t *testing.T) {
	early := make(chan string, 4)
	in := watch(func(n int, why string) { early <- fmt.Sprint(n, " ", why) })
	defer in.stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-early; got != "1 terminated" {
		t.Errorf("got %q", got)
	}
	var late []string
	in.on(func(n int, why string) { late = append(late, fmt.Sprint(n, " ", why)) })
	in.raise("interrupt", true)
	if diff := cmp.Diff([]string{"1 terminated", "2 interrupt"}, late); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What one event does to a build counts once.
func TestInterruptsCount(t *testing.T) {
	const hup, gone, interrupt, term = "hup", "gone", "interrupt", "term"
	for _, test := range []struct{ raised, want []string }{
		{[]string{hup, hup, gone}, []string{"1 hup"}},
		{[]string{gone, interrupt}, []string{"1 gone"}},
		{[]string{interrupt, gone, hup}, []string{"1 interrupt"}},
		{[]string{gone, interrupt, interrupt}, []string{"1 gone", "2 interrupt"}},
		{[]string{hup, term, interrupt, hup, term}, []string{"1 hup", "2 interrupt", "3 term"}},
	} {
		var got []string
		in := &interrupts{react: func(n int, why string) { got = append(got, fmt.Sprint(n, " ", why)) }}
		for _, why := range test.raised {
			in.raise(why, why == interrupt || why == term)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.raised, diff)
		}
	}
}
