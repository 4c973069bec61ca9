package drivers

import (
	"context"
	"net/url"
	"reflect"
)

// State says whether a runtime can be used.
type State string

// The states.
const (
	Works      State = "works"
	Broken     State = "broken"       // it is there in part, or does not answer
	Missing    State = "missing"      // it is not installed
	NotBuiltIn State = "not built in" // wharf has no driver for it on this system
)

// Report is what is known of a runtime.
type Report struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Runtime is its name and version, OS and Arch what images must fit.
	Runtime string `json:"runtime,omitempty"`
	OS      string `json:"os,omitempty"`
	Arch    string `json:"arch,omitempty"`
	// Where is its socket or address.
	Where string `json:"where,omitempty"`
	// Can and Cannot are the names of what a build may ask for and of what this runtime would refuse.
	Can    []string `json:"can,omitempty"`
	Cannot []string `json:"cannot,omitempty"`
	// Problem says what is missing, Mend is the command that should mend it.
	Problem string `json:"problem,omitempty"`
	Mend    string `json:"mend,omitempty"`
}

// Inspect looks at every runtime that wharf knows of.
func Inspect(ctx context.Context) []Report {
	m := thisMachine()
	reports := make([]Report, len(kinds))
	for i, k := range kinds {
		reports[i] = k.inspect(ctx, m)
	}
	return reports
}

func (k kind) inspect(ctx context.Context, m machine) Report {
	f := k.find(m)
	r := Report{Name: k.name, Where: f.Where, Problem: f.Problem, Mend: f.Mend}
	switch {
	case k.open == nil: // to mend anything else would be of no use
		r.State, r.Problem, r.Mend = NotBuiltIn, noDriver, ""
	case f.State != Works:
		r.State = f.State
	default:
		k.ask(ctx, m, &r)
	}
	return r
}

// ask connects to the runtime and fills in what it says.
func (k kind) ask(ctx context.Context, m machine, r *Report) {
	u := &url.URL{Scheme: k.name}
	o, err := k.connect(ctx, u)
	if err != nil {
		f := k.explain(m, u, err)
		r.State, r.Problem, r.Mend = Broken, f.Problem, f.Mend
		return
	}
	defer o.Driver.Close()
	r.Mend = ""
	c := o.Capabilities
	r.State, r.Runtime, r.OS, r.Arch = Works, c.Runtime, c.OS, c.Arch
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if v.Field(i).Kind() != reflect.Bool {
			continue
		}
		if name := v.Type().Field(i).Name; v.Field(i).Bool() {
			r.Can = append(r.Can, name)
		} else {
			r.Cannot = append(r.Cannot, name)
		}
	}
}
