package drivertest

import (
	"context"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/wharfci/wharf/driver"
)

// Document is what the documentation says of a runtime, docs/runtimes/NAME.json.
type Document struct {
	// Name is the runtime's, Reached how a driver connects to it, Versions those that it is tested with: all for a person.
	Name     string
	Reached  string
	Versions string
	// Abilities has, by field of [driver.Capabilities], "yes", "no", "by policy" (what the installation's configuration must allow), or
	// other words, such as a version, where it depends.
	Abilities map[string]string
}

// Documented fails the test unless the file, a [Document] in JSON, says of each ability what the driver claims. The harness needs Open, and
// OpenAllowing if something is "by policy".
func Documented(t *testing.T, h Harness, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc Document
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	claims := claimed(t, h.Open)
	allowed := claims
	if h.OpenAllowing != nil {
		allowed = claimed(t, h.OpenAllowing)
	}
	for name, is := range claims {
		want := "no"
		switch {
		case is:
			want = "yes"
		case allowed[name]:
			want = "by policy"
		}
		switch got := doc.Abilities[name]; got {
		case "":
			t.Errorf("%s says nothing of %s; the driver claims: %s", file, name, want)
		case "yes", "no":
			if got != want {
				t.Errorf("%s says of %s: %s; the driver claims: %s", file, name, got, want)
			}
		case "by policy": // where this machine cannot do it, no policy helps
			if is {
				t.Errorf("%s says of %s: %s; the driver claims it without", file, name, got)
			}
		}
	}
	for name := range doc.Abilities {
		if _, known := claims[name]; !known {
			t.Errorf("%s names the ability %s, which there is not", file, name)
		}
	}
}

// claimed are the abilities of a driver value, by name.
func claimed(t *testing.T, open func(context.Context, string) (driver.Driver, error)) map[string]bool {
	t.Helper()
	d, err := open(t.Context(), "documented")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	caps, err := d.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]bool{}
	for v, i := reflect.ValueOf(caps), 0; i < v.NumField(); i++ {
		if v.Field(i).Kind() == reflect.Bool {
			claims[v.Type().Field(i).Name] = v.Field(i).Bool()
		}
	}
	return claims
}
