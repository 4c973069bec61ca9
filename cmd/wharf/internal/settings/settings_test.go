package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestFill(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		file string
		want string // listen, limit, allow, keep
		err  string
	}{
		"nothing":          {want: "default 1 [] 0s"},
		"the file":         {file: "listen: file\nlimit: 3\nallow: [a, b]\nkeep: 2h\n", want: "file 3 [a b] 2h0m0s"},
		"the environment":  {env: map[string]string{"T_LISTEN": "env", "T_ALLOW": "x,y"}, file: "listen: file\nallow: [a]\n", want: "env 1 [x y] 0s"},
		"the command line": {args: []string{"--listen=args", "--allow=c"}, env: map[string]string{"T_LISTEN": "env"}, file: "allow: [a]", want: "args 1 [c] 0s"},
		"empty":            {file: "", env: map[string]string{"T_LISTEN": ""}, want: "default 1 [] 0s"},
		"comments alone":   {file: "# nothing\n", want: "default 1 [] 0s"},
		"nothing at all":   {file: "---\n", want: "default 1 [] 0s"},
		"one of a list":    {file: "allow: a\n", want: "default 1 [a] 0s"},
		"an empty list":    {file: "allow: []\n", want: "default 1 [] 0s"},
		"an alias":         {file: "listen: &l file\nallow: [*l]\n", want: "file 1 [file] 0s"},
		"a typing error":   {file: "limit: 2\n\nlistn: x", err: `:3: there is no setting "listn"; did you mean "listen"?`},
		"a wrong value":    {file: "\nlimit: many", err: `:2: limit: "many": must be a whole number`},
		"no time":          {file: "keep: 2", err: `:1: keep: "2": must have a unit`},
		"a wrong variable": {env: map[string]string{"T_LIMIT": "many"}, err: `$T_LIMIT: "many": must be a whole number`},
		"no map":           {file: "- a", err: ":1: must be a map"},
		"no YAML":          {file: "listen: x\nlimit: [", err: "yaml: line "},
		"twice":            {file: "limit: 1\nlimit: 2", err: ":2: limit is given twice"},
		"no value":         {file: "limit: 1\nlisten:", err: ":2: listen: must be a value"},
		"two documents":    {file: "limit: 1\n---\nlimit: 2", err: "must be one YAML document"},
		"a map inside":     {file: "listen: {a: b}", err: ":1: listen: must be a value"},
		"a list":           {file: "listen: [a, b]", err: ":1: listen: must be one value"},
		"in no file":       {file: "config: x", err: ":1: config cannot stand in a file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := pflag.NewFlagSet("t", pflag.ContinueOnError)
			listen, limit, keep := f.String("listen", "default", ""), f.Int("limit", 1, ""), f.Duration("keep", 0, "")
			allow := f.StringArray("allow", nil, "")
			f.String("config", "", "")
			if err := f.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Fill(f, "T", path, "config")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("the error is %v; want %q", err, c.err)
				}
				return
			}
			got := strings.Join([]string{*listen, string(rune('0' + *limit)), "[" + strings.Join(*allow, " ") + "]", (*keep).Round(time.Second).String()}, " ")
			if err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}
