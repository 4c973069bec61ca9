package cli

import (
	"os"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wharfci/wharf/cmd/wharf/internal/tty"
)

func TestNewTerminal(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	type env = map[string]string
	for name, c := range map[string]struct {
		out  *os.File
		env  env
		want terminal
	}{
		"terminal":          {slave, env{"TERM": "xterm", "LANG": "de_DE.UTF-8"}, terminal{is: true, colour: true, look: tty.Look{Colour: true, Unicode: true}}},
		"no colour":         {slave, env{"TERM": "xterm", "NO_COLOR": "1", "LC_ALL": "C.utf8"}, terminal{is: true, look: tty.Look{Unicode: true}}},
		"empty NO_COLOR":    {slave, env{"TERM": "xterm", "NO_COLOR": ""}, terminal{is: true, colour: true, look: tty.Look{Colour: true}}},
		"locale by LC_ALL":  {slave, env{"TERM": "xterm", "LC_ALL": "C", "LANG": "en_US.UTF-8"}, terminal{is: true, colour: true, look: tty.Look{Colour: true}}},
		"dumb":              {slave, env{"TERM": "dumb"}, terminal{}},
		"no TERM":           {slave, env{}, terminal{colour: false}},
		"CI":                {slave, env{"TERM": "xterm", "CI": "true"}, terminal{is: true, ci: true, colour: true, look: tty.Look{Colour: true}}},
		"CI=false":          {slave, env{"TERM": "xterm", "CI": "false"}, terminal{is: true, colour: true, look: tty.Look{Colour: true}}},
		"file":              {file, env{"TERM": "xterm"}, terminal{}},
		"file, with colour": {file, env{"TERM": "xterm", "FORCE_COLOR": "1"}, terminal{colour: true, look: tty.Look{Colour: true}}},
	} {
		got := newTerminal(c.out, func(name string) string { return c.env[name] })
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(terminal{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
