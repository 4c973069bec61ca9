package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what scripts compare with anew")

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == dockerdName {
		if err := superviseDockerd(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testscript.Main(tidied{m}, map[string]func(){"wharf": main})
}

// tidied runs the tests and removes what they have built.
type tidied struct{ m *testing.M }

func (t tidied) Run() int {
	defer func() {
		if staticDir != "" {
			os.RemoveAll(staticDir)
		}
	}()
	return t.m.Run()
}

// TestScripts runs the commands as a person does. Those that build need Docker and the image localhost/wharf/busybox:1.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			static, err := staticWharf()
			if err != nil {
				return err
			}
			env.Setenv("STATIC_WHARF", static)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			env.Setenv("OWNER", fmt.Sprintf("scripts-%d", os.Getpid())) // for what must not meet anything of others
			for _, name := range []string{"DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
				if v := os.Getenv(name); v != "" {
					env.Setenv(name, v)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}
