package drivertest_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/fake"
)

func brokenFidelity() map[string]breakage {
	user := func(u string) breakage { return mainContainer(func(c *driver.Container) { c.User = u }) }
	dir := func(d string) breakage { return mainContainer(func(c *driver.Container) { c.Dir = d }) }
	return map[string]breakage{
		"env": env(func(m map[string]string) {
			for k, v := range m {
				m[k], _, _ = strings.Cut(v, "\n")
			}
		}),
		"env-large": env(func(m map[string]string) {
			for k, v := range m {
				m[k] = v[:min(len(v), 32<<10)]
			}
		}),
		"env-image": env(func(m map[string]string) { delete(m, "BOTH") }),
		"locale":    env(func(m map[string]string) { m["LANG"] = "C.UTF-8" }),
		"args": mainContainer(func(c *driver.Container) {
			for i, arg := range c.Args {
				c.Args[i] = os.ExpandEnv(arg)
			}
		}),
		"args-large":    mainContainer(func(c *driver.Container) { c.Args = c.Args[:min(len(c.Args), 400)] }),
		"image-command": mainContainer(func(c *driver.Container) { c.Args = []string{} }),
		"args-override": mainContainer(func(c *driver.Container) { c.Args = append([]string{"from", "command"}, c.Args...) }),
		"args-empty": mainContainer(func(c *driver.Container) {
			if len(c.Args) == 0 {
				c.Args = nil
			}
		}),
		"entrypoint-override": mainContainer(func(c *driver.Container) {
			if c.Args == nil {
				c.Args = []string{"from", "command"}
			}
		}),
		"entrypoint-empty": mainContainer(func(c *driver.Container) {
			if len(c.Entrypoint) == 0 {
				c.Entrypoint = nil
			}
		}),
		"bare-image":        mainContainer(func(c *driver.Container) { c.Entrypoint = []string{"/bin/sh", "-c"} }),
		"user-image":        user("0"),
		"user-name":         user("guest:builder"),
		"user-number":       user("1234:1234"),
		"user-number-known": user("2000:0"),
		"user-group":        user("builder"),
		"user-numbers":      user("1234"),
		"user-unknown":      user("0"),
		"dir-image":         dir("/"),
		"dir-default":       dir("/tmp"),
		"dir-set":           dir(""),
		"dir-made":          dir(""),
		"dir-impossible":    dir(""),
		"hostname":          spec(func(s *driver.TaskSpec) { s.Network.Hostname = "" }),
		"clock":             slowClock,
	}
}

// slowClock is an hour behind.
func slowClock(h *drivertest.Harness) {
	images, err := archive()
	if err != nil {
		panic(err)
	}
	*h = fakeHarness(fake.Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }})
	if err := h.Load(context.Background(), bytes.NewReader(images)); err != nil {
		panic(err)
	}
	h.Loaded = true
}

func env(change func(map[string]string)) breakage {
	return mainContainer(func(c *driver.Container) {
		c.Env = maps.Clone(c.Env)
		if c.Env == nil {
			c.Env = map[string]string{}
		}
		change(c.Env)
	})
}

func brokenAbilities() map[string]breakage {
	return map[string]breakage{
		"runtime": claims(func(c *driver.Capabilities) { c.Runtime = "" }),
		"exec":    claims(func(c *driver.Capabilities) { c.Exec = false }),
		"dial":    claims(func(c *driver.Capabilities) { c.Dial = false }),
		"events":  hurried(claims(func(c *driver.Capabilities) { c.Events = false })),
		"events-of-several": hurried(spec(func(s *driver.TaskSpec) {
			if s.Init != nil {
				s.Labels = nil
			}
		})),
		"pull":                              claims(func(c *driver.Capabilities) { c.Pull = false }),
		"stats":                             claims(func(c *driver.Capabilities) { c.Stats = false }),
		"sandboxes":                         claims(func(c *driver.Capabilities) { c.Sandboxes = false }),
		"init":                              claims(func(c *driver.Capabilities) { c.Init = false }),
		"services":                          hurried(spec(func(s *driver.TaskSpec) { s.Services = nil })),
		"secrets":                           spec(func(s *driver.TaskSpec) { s.Secrets = nil }),
		"field-network-dns":                 claims(func(c *driver.Capabilities) { c.DNS = false }),
		"field-network-hosts":               claims(func(c *driver.Capabilities) { c.Hosts = false }),
		"field-network-mode":                claims(func(c *driver.Capabilities) { c.NetworkNone = false }),
		"field-resources-cpu":               claims(func(c *driver.Capabilities) { c.CPULimit = false }),
		"field-resources-pids":              claims(func(c *driver.Capabilities) { c.PIDLimit = false }),
		"field-placement":                   spec(func(s *driver.TaskSpec) { s.Placement = driver.Placement{} }),
		"field-security-privileged":         safe,
		"field-security-hostnetwork":        safe,
		"field-security-hostpaths":          safe,
		"field-security-addcapabilities":    safe,
		"field-security-allownewprivileges": safe,
	}
}

// safe ignores what asks for more than the safe choice.
var safe = mainContainer(func(c *driver.Container) { c.Security = driver.Security{} })
