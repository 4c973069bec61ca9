package driver

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestValidName(t *testing.T) {
	for name, valid := range map[string]bool{
		"a": true, "0": true, "a-b.c9": true, strings.Repeat("x", 63): true,
		"": false, "-a": false, "a-": false, ".a": false, "a.": false, "A": false, "a_b": false, "a b": false, "ä": false,
		"a/b": false, "a\x00": false, strings.Repeat("x", 64): false,
	} {
		if err := ValidName(name); (err == nil) != valid || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("ValidName(%q) = %v; want valid: %t", name, err, valid)
		}
	}
}

func TestValidLabels(t *testing.T) {
	for _, c := range []struct {
		key, value string
		valid      bool
	}{
		{"a", "", true},
		{"example.com/Some_key-1", "größe ☃ = 100 %", true},
		{strings.Repeat("k", 63), strings.Repeat("v", 200), true},
		{"", "v", false},
		{strings.Repeat("k", 64), "v", false},
		{"a b", "v", false},
		{"ä", "v", false},
		{"a=b", "v", false},
		{"k", strings.Repeat("v", 201), false},
		{"k", "two\nlines", false},
		{"k", "\x7f", false},
		{"k", "\xff", false},
	} {
		err := ValidLabels(map[string]string{c.key: c.value})
		if (err == nil) != c.valid || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("ValidLabels(%q: %.20q) = %v; want valid: %t", c.key, c.value, err, c.valid)
		}
	}
}

func TestTaskSpecValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*TaskSpec)
		want   string // in the error; empty for a valid spec
	}{
		"minimal":           {func(*TaskSpec) {}, ""},
		"everything":        {full, ""},
		"name":              {func(s *TaskSpec) { s.Name = "No" }, `name "No"`},
		"label":             {func(s *TaskSpec) { s.Labels = map[string]string{"": "x"} }, "label"},
		"image missing":     {func(s *TaskSpec) { s.Container.Image = "" }, "Container: Image"},
		"image space":       {func(s *TaskSpec) { s.Container.Image = "a b" }, "Container: Image"},
		"pull":              {func(s *TaskSpec) { s.Container.Pull = 9 }, "Pull"},
		"args NUL":          {func(s *TaskSpec) { s.Container.Args = []string{"a\x00"} }, "NUL"},
		"entrypoint NUL":    {func(s *TaskSpec) { s.Container.Entrypoint = []string{"\x00"} }, "NUL"},
		"args UTF-8":        {func(s *TaskSpec) { s.Container.Args = []string{"\xff"} }, "UTF-8"},
		"env UTF-8":         {func(s *TaskSpec) { s.Container.Env = map[string]string{"A": "\xff"} }, "UTF-8"},
		"env name":          {func(s *TaskSpec) { s.Container.Env = map[string]string{"A=B": "x"} }, `Env "A=B"`},
		"env empty name":    {func(s *TaskSpec) { s.Container.Env = map[string]string{"": "x"} }, "Env"},
		"env NUL":           {func(s *TaskSpec) { s.Container.Env = map[string]string{"A": "\x00"} }, "Env"},
		"dir":               {func(s *TaskSpec) { s.Container.Dir = "relative" }, "Dir"},
		"negative":          {func(s *TaskSpec) { s.Container.Resources.PIDs = -1 }, "Resources"},
		"mount volume":      {mounts(Mount{Path: "/v"}), "Mounts[0].Volume"},
		"mount root":        {mounts(Mount{Volume: "v", Path: "/"}), "Mounts[0].Path"},
		"mount relative":    {mounts(Mount{Volume: "v", Path: "v"}), "Mounts[0].Path"},
		"mount unclean":     {mounts(Mount{Volume: "v", Path: "/v/../w"}), "Mounts[0].Path"},
		"mount twice":       {mounts(Mount{Volume: "v", Path: "/v"}, Mount{Volume: "w", Path: "/v"}), "Mounts[1].Path"},
		"sub-path out":      {mounts(Mount{Volume: "v", Path: "/v", SubPath: "../x"}), "SubPath"},
		"sub-path absolute": {mounts(Mount{Volume: "v", Path: "/v", SubPath: "/x"}), "SubPath"},
		"init name":         {func(s *TaskSpec) { s.Init = []Container{{Image: "i"}} }, "Init[0]"},
		"init dot":          {func(s *TaskSpec) { s.Init = []Container{{Name: "a.b", Image: "i"}} }, "Init[0]"},
		"init main":         {func(s *TaskSpec) { s.Init = []Container{{Name: "main", Image: "i"}} }, "used twice"},
		"names twice": {func(s *TaskSpec) {
			s.Init = []Container{{Name: "a", Image: "i"}}
			s.Services = []Service{{Container: Container{Name: "a", Image: "i"}}}
		}, "Services[0]"},
		"service container": {service(Service{Container: Container{Name: "s"}}), "Services[0]: Image"},
		"ready both":        {service(Service{Container: named("s"), Ready: Ready{TCP: 1, Exec: []string{"x"}}}), "Ready"},
		"ready port":        {service(Service{Container: named("s"), Ready: Ready{TCP: 65536}}), "Ready"},
		"ready time":        {service(Service{Container: named("s"), Ready: Ready{Timeout: -1}}), "Ready"},
		"sandbox network":   {func(s *TaskSpec) { s.Sandbox, s.Network.Mode = "x", NetworkNone }, "Sandbox"},
		"network mode":      {func(s *TaskSpec) { s.Network.Mode = 9 }, "Network.Mode"},
		"secret path":       {func(s *TaskSpec) { s.Secrets = []Secret{{Name: "t", Path: "x"}} }, "Secrets[0] (t)"},
		"secret size":       {func(s *TaskSpec) { s.Secrets = []Secret{{Path: "/x", Value: make([]byte, 1<<20+1)}} }, "Secrets[0]"},
		"secret mode":       {func(s *TaskSpec) { s.Secrets = []Secret{{Path: "/x", Mode: 0o4777}} }, "Secrets[0]"},
		"secret owner":      {func(s *TaskSpec) { s.Secrets = []Secret{{Path: "/x", UID: -1}} }, "Secrets[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := TaskSpec{Name: "task", Container: Container{Image: "image"}}
			c.change(&s)
			err := s.Validate()
			if c.want == "" {
				if err != nil {
					t.Errorf("a valid spec is refused: %v", err)
				}
				return
			}
			if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Validate = %v; want InvalidArgument with %q", err, c.want)
			}
		})
	}
}

func named(name string) Container { return Container{Name: name, Image: "image"} }

func mounts(m ...Mount) func(*TaskSpec) { return func(s *TaskSpec) { s.Container.Mounts = m } }

func service(svc Service) func(*TaskSpec) { return func(s *TaskSpec) { s.Services = []Service{svc} } }

// full sets every field to something valid.
func full(s *TaskSpec) {
	s.Labels = map[string]string{"a/b": "c"}
	s.Container = Container{
		Image: "registry.example:5000/a/b@sha256:" + strings.Repeat("0", 64), Pull: PullNever, Credentials: &Credentials{Token: "x"},
		Platform: "linux/arm64", Entrypoint: []string{}, Args: []string{""}, Env: map[string]string{"A": "=\n"}, Dir: "/", User: "a:b",
		Mounts:    []Mount{{Volume: "v", Path: "/v", SubPath: "a/b"}, {Volume: "v", Path: "/v/w", ReadOnly: true}},
		Resources: Resources{CPU: 1, Memory: 1, PIDs: 1, CPURequest: 1, MemoryRequest: 1},
		Security:  Security{Privileged: true},
	}
	s.Init = []Container{named("a-1"), named("b")}
	s.Services = []Service{{Container: named("db"), Ready: Ready{TCP: 5432, Timeout: time.Second}}, {Container: named("mq"), Ready: Ready{Exec: []string{"x"}}}}
	s.Network = Network{Mode: NetworkOwn, DNS: []string{"192.0.2.1"}, Hosts: map[string]string{"a": "192.0.2.1"}, Hostname: "h"}
	s.Secrets = []Secret{{Name: "t", Path: "/run/t", Value: make([]byte, 1<<20), Mode: 0o777, UID: 1}}
}

func TestValidateTellsEverything(t *testing.T) {
	s := TaskSpec{Name: "No", Container: Container{Dir: "x"}, Secrets: []Secret{{Name: "t"}}}
	err := s.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"name", "Image", "Dir", "Secrets[0]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell of %s: %v", want, err)
		}
	}
}

func TestVolumeSpecValidate(t *testing.T) {
	for _, c := range []struct {
		spec  VolumeSpec
		valid bool
	}{
		{VolumeSpec{Name: "v"}, true},
		{VolumeSpec{Name: "v", Size: 1 << 40, Labels: map[string]string{"a": "b"}}, true},
		{VolumeSpec{}, false},
		{VolumeSpec{Name: "v", Size: -1}, false},
		{VolumeSpec{Name: "v", Labels: map[string]string{"a": "\n"}}, false},
	} {
		if err := c.spec.Validate(); (err == nil) != c.valid || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%+v: %v; want valid: %t", c.spec, err, c.valid)
		}
	}
}

func TestPlaceValidate(t *testing.T) {
	for _, c := range []struct {
		place Place
		path  string
		valid bool
	}{
		{Place{Task: "t"}, "/", true},
		{Place{Volume: "v"}, "/a/b", true},
		{Place{}, "/", false},
		{Place{Task: "t", Volume: "v"}, "/", false},
		{Place{Task: "t"}, "", false},
		{Place{Task: "t"}, "a", false},
		{Place{Task: "t"}, "/a\x00", false},
	} {
		if err := c.place.Validate(c.path); (err == nil) != c.valid || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%+v %q: %v; want valid: %t", c.place, c.path, err, c.valid)
		}
	}
}
