package provisioner_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// TestProjectSecrets: a worker gets those of its project, its clone none, and another project's worker other ones.
func TestProjectSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"wharf-test-project-7-secretname-upload":                            "PASSWORD=a\n",
		"wharf-test-project-7-secretname-keys/ONE":                          "b",
		"wharf-test-project-7-secretname-keys/.hidden":                      "x",
		"wharf-test-project-7-secretname-odd name":                          "x",
		"wharf-test-project-77-secretname-upload":                           "x",
		"wharf-test-project-7-secretname-x-project-8-secretname-of-another": "x",
		"wharf--project--secretname-of-nobody":                              "c",
		"wharf-other-project-7-secretname-upload":                           "x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	y := newYard()
	specs := make(chan driver.TaskSpec, 1)
	p := y.open(t, func(c *provisioner.Config) {
		c.Secrets = dir
		c.Driver = &watched{Driver: c.Driver.(*fake.Driver), created: func(s driver.TaskSpec) { specs <- s }}
	})
	nobody, none := trigger(2), trigger(3)
	nobody.Instance, nobody.ProjectID = "", 0
	none.ProjectID = 9
	for _, c := range []struct {
		trigger provisioner.Trigger
		want    []string
	}{
		{trigger(1), []string{"/run/wharf/secrets/wharf-test-project-7-secretname-keys/ONE=b", "/run/wharf/secrets/wharf-test-project-7-secretname-upload=PASSWORD=a\n"}},
		{nobody, []string{"/run/wharf/secrets/wharf--project--secretname-of-nobody=c"}},
		{none, nil},
	} {
		id := ask(t, p, c.trigger).ID
		spec := <-specs
		var got []string
		for _, s := range spec.SecretsOf(driver.MainContainer) {
			if filepath.Dir(s.Path) != "/run/wharf" {
				got = append(got, s.Path+"="+string(s.Value))
			}
		}
		if !slices.Equal(got, c.want) || slices.Contains(spec.Container.Args, "--secrets=/run/wharf/secrets") != (c.want != nil) {
			t.Errorf("the worker gets %q, %q; want %q", got, spec.Container.Args, c.want)
		}
		for _, s := range spec.SecretsOf("clone") {
			if filepath.Base(s.Path) != "git-token" {
				t.Errorf("the clone gets %s", s.Path)
			}
		}
		until(t, p, id, provisioner.Succeeded)
	}
}
