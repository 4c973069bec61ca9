package drivertest_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenLimits() map[string]breakage {
	security := func(change func(*driver.Security)) breakage {
		return mainContainer(func(c *driver.Container) { change(&c.Security) })
	}
	unlimited := mainContainer(func(c *driver.Container) { c.Resources = driver.Resources{} })
	return map[string]breakage{
		"memory":               unlimited,
		"cpu":                  unlimited,
		"pids":                 unlimited,
		"read-only-root":       security(func(s *driver.Security) { s.ReadOnlyRoot = false }),
		"non-root":             security(func(s *driver.Security) { s.NonRoot = false }),
		"capabilities":         security(func(s *driver.Security) { s.DropAll = true }),
		"capabilities-dropped": security(func(s *driver.Security) { s.DropAll = false }),
		"no-new-privileges":    generous(func(s *driver.Security) { s.AllowNewPrivileges = true }),
		"device":               safe,
		"every-container": spec(func(s *driver.TaskSpec) {
			for i := range s.Init {
				s.Init[i].Security = driver.Security{}
			}
		}),
		"allowed-privileged":     allowing(safe),
		"allowed-capabilities":   allowing(safe),
		"allowed-new-privileges": allowing(safe),
		"allowed-host-network":   allowing(safe),
		"allowed-host-paths":     allowing(safe),
		"secret-present": spec(func(s *driver.TaskSpec) {
			for i := range s.Secrets {
				s.Secrets[i].UID = 0
			}
		}),
		"secret-directories": spec(func(s *driver.TaskSpec) {
			for i := range s.Secrets {
				s.Secrets[i].Path = strings.Replace(s.Secrets[i].Path, "/tmp/new/", "/tmp/other/", 1)
			}
		}),
		"secret-of-one": spec(func(s *driver.TaskSpec) {
			for i := range s.Secrets {
				if s.Secrets[i].Name == "first" {
					s.Secrets[i].Containers = nil
				}
			}
		}),
		"secret-hidden": tellsSecret,
	}
}

// generous is a driver that gives more than it was asked for, and more than it claims.
func generous(change func(*driver.Security)) breakage {
	return func(h *drivertest.Harness) {
		h.Open = h.OpenAllowing
		mainContainer(func(c *driver.Container) { change(&c.Security) })(h)
		open := h.Open
		h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
			d, err := open(ctx, owner)
			b := &hooks{Driver: d, capabilities: func(c *driver.Capabilities) { c.NewPrivileges = false }}
			return b, err
		}
	}
}

// allowing breaks the driver values that allow more.
func allowing(b breakage) breakage {
	return func(h *drivertest.Harness) {
		strict := h.Open
		h.Open = h.OpenAllowing
		b(h)
		h.Open, h.OpenAllowing = strict, h.Open
	}
}

// tellsSecret has the secrets in the error of a name in use.
func tellsSecret(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if err != nil {
				for _, secret := range s.Secrets {
					err = fmt.Errorf("%w: %s", err, secret.Value)
				}
			}
			return id, err
		}
	})(h)
}
