package provisioner_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/giturl"
)

// asked is what wharf-api sends.
func asked() map[string]string {
	return map[string]string{
		"BUILD_REF": "123", "REPO_NAME": "shop", "REPO_GROUP": "sales", "REPO_BRANCH": "feature/#1", "GIT_BRANCH": "feature/#1",
		"GIT_FULLURL": "https://git.example.com/sales/shop.git", "GIT_TOKEN": "t0ken", "RUN_STAGES": "ALL", "ENVIRONMENT": "stage",
		"VARS": "version: 1.4\nfast: true\n", "WHARF_PROJECT_ID": "9", "WHARF_INSTANCE": "prod", "token": "engine", "EXTRA": "kept",
	}
}

func TestParseTrigger(t *testing.T) {
	got, err := provisioner.ParseTrigger(asked(), giturl.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := giturl.Parse("https://git.example.com/sales/shop.git")
	want := provisioner.Trigger{
		Build: 123, Instance: "prod", ProjectID: 9, Group: "sales", Name: "shop", URL: u, Branch: "feature/#1", Credential: "t0ken", Environment: "stage",
		Inputs: map[string]string{"version": "1.4", "fast": "true"}, Variables: map[string]string{"EXTRA": "kept"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseTriggerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		set  map[string]string
		want []string // parameters that the error names
	}{
		"no build":          {map[string]string{"BUILD_REF": ""}, []string{"BUILD_REF"}},
		"no number":         {map[string]string{"BUILD_REF": "-1"}, []string{"BUILD_REF"}},
		"no URL":            {map[string]string{"GIT_FULLURL": ""}, []string{"GIT_FULLURL"}},
		"a file":            {map[string]string{"GIT_FULLURL": "file:///etc"}, []string{"GIT_FULLURL"}},
		"a program":         {map[string]string{"GIT_FULLURL": "ext::sh -c id"}, []string{"GIT_FULLURL"}},
		"an option":         {map[string]string{"GIT_FULLURL": "--upload-pack=id"}, []string{"GIT_FULLURL"}},
		"a password":        {map[string]string{"GIT_FULLURL": "https://me:secret@example.com/a.git"}, []string{"GIT_FULLURL"}},
		"option as branch":  {map[string]string{"GIT_BRANCH": "--upload-pack=id", "REPO_BRANCH": ""}, []string{"GIT_BRANCH"}},
		"two branches":      {map[string]string{"GIT_BRANCH": "main"}, []string{"REPO_BRANCH"}},
		"half a commit":     {map[string]string{"GIT_COMMIT": "abc"}, []string{"GIT_COMMIT"}},
		"a list of inputs":  {map[string]string{"VARS": "[1]"}, []string{"VARS"}},
		"nested inputs":     {map[string]string{"VARS": "a: {b: 1}"}, []string{"VARS"}},
		"two documents":     {map[string]string{"VARS": "a: 1\n---\nb: 2"}, []string{"VARS"}},
		"inputs twice":      {map[string]string{"VARS": "{a: 1, a: 1}"}, []string{"VARS"}},
		"an alias":          {map[string]string{"VARS": "a: &x 1\nb: *x"}, []string{"VARS"}},
		"comments alone":    {map[string]string{"VARS": "# nothing"}, []string{"VARS"}},
		"no YAML":           {map[string]string{"VARS": "a: [}"}, []string{"VARS"}},
		"input with =":      {map[string]string{"VARS": `{"a=b": "secret"}`}, []string{"VARS"}},
		"input with }":      {map[string]string{"VARS": `{"a}b": "c"}`}, []string{"VARS"}},
		"input with space":  {map[string]string{"VARS": `{" a": "c"}`}, []string{"VARS"}},
		"input of lines":    {map[string]string{"VARS": `{"a\nb": "c"}`}, []string{"VARS"}},
		"input with NUL":    {map[string]string{"VARS": `{"a\0b": "c"}`}, []string{"VARS"}},
		"NUL as an input":   {map[string]string{"VARS": `a: "secret\0"`}, []string{"VARS"}},
		"NUL by its number": {map[string]string{"VARS": `{"a": "\u0000"}`}, []string{"VARS"}},
		"long input":        {map[string]string{"VARS": strings.Repeat("x", 256) + ": 1"}, []string{"VARS"}},
		"priority":          {map[string]string{"PRIORITY": "urgent"}, []string{"PRIORITY"}},
		"too large":         {map[string]string{"PRIORITY": "1000"}, []string{"PRIORITY"}},
		"directory outside": {map[string]string{"REPO_DIRECTORY": "../x"}, []string{"REPO_DIRECTORY"}},
		"sparse option":     {map[string]string{"GIT_SPARSE": "a,--b"}, []string{"GIT_SPARSE"}},
		"sparse pattern":    {map[string]string{"GIT_SPARSE": "a/*,b?,[c],d"}, []string{"GIT_SPARSE", "GIT_SPARSE", "GIT_SPARSE"}},
		"sparse quotes":     {map[string]string{"GIT_SPARSE": `"a"`}, []string{"GIT_SPARSE"}},
		"sparse tab":        {map[string]string{"GIT_SPARSE": "a\tb"}, []string{"GIT_SPARSE"}},
		"sparse escape":     {map[string]string{"GIT_SPARSE": "a\x1bb"}, []string{"GIT_SPARSE"}},
		"sparse outside":    {map[string]string{"GIT_SPARSE": "a/../../b"}, []string{"GIT_SPARSE"}},
		"sparse top":        {map[string]string{"GIT_SPARSE": "/"}, []string{"GIT_SPARSE"}},
		"no boolean":        {map[string]string{"GIT_LFS": "maybe"}, []string{"GIT_LFS"}},
		"control character": {map[string]string{"REPO_NAME": "a\x1bb"}, []string{"REPO_NAME"}},
		"too long":          {map[string]string{"ENVIRONMENT": strings.Repeat("x", 300)}, []string{"ENVIRONMENT"}},
		"no UTF-8":          {map[string]string{"EXTRA": "\xff"}, []string{"EXTRA"}},
		"a name with =":     {map[string]string{"a=b": "1"}, []string{"parameters"}},
		"a name with }":     {map[string]string{"a}b": "1"}, []string{"parameters"}},
		"a name of lines":   {map[string]string{"a\nb": "1"}, []string{"parameters"}},
		"no name":           {map[string]string{"": "1"}, []string{"parameters"}},
		"a body as a name":  {map[string]string{`{"GIT_TOKEN": "secret"}`: ""}, []string{"parameters"}},
		"an exponent":       {map[string]string{"BUILD_REF": "1e3"}, []string{"BUILD_REF"}},
		"a fraction":        {map[string]string{"WHARF_PROJECT_ID": "1.0"}, []string{"WHARF_PROJECT_ID"}},
		"more than 64 bits": {map[string]string{"BUILD_REF": "18446744073709551616"}, []string{"BUILD_REF"}},
		"NUL":               {map[string]string{"EXTRA": "a\x00"}, []string{"EXTRA"}},
		"much text":         {map[string]string{"EXTRA": strings.Repeat("x", 64<<10+1)}, []string{"EXTRA"}},
		"much at once":      {map[string]string{"BUILD_REF": "x", "GIT_FULLURL": "x", "VARS": "x"}, []string{"BUILD_REF", "GIT_FULLURL", "VARS"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := asked()
			maps.Copy(p, c.set)
			_, err := provisioner.ParseTrigger(p, giturl.Policy{})
			if got := named(err); !slices.Equal(got, c.want) {
				t.Errorf("the error names %q; want %q: %v", got, c.want, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

// named returns the parameters that an error names, sorted.
func named(err error) (names []string) {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			names = append(names, named(e)...)
		}
		slices.Sort(names)
		return names
	}
	var p *provisioner.ParameterError
	if !errors.As(err, &p) {
		return []string{"no parameter"}
	}
	return []string{p.Parameter}
}

// TestParseTriggerVariables: what is not known is kept, whatever its name, as long as ${name} can stand for it.
func TestParseTriggerVariables(t *testing.T) {
	want := map[string]string{"EXTRA": "kept", "pull_request.head.ref": "x", "a b": "1", "ümläut": "2", "X-GitHub-Event": "push", "0": "3", "refs[0]": "4", "empty": "", "name%": "5"}
	p := asked()
	maps.Copy(p, want)
	p["BUILD_REF"] = "12345678901234567890"
	got, err := provisioner.ParseTrigger(p, giturl.Policy{})
	if err != nil || got.Build != 12345678901234567890 {
		t.Errorf("build %d, %v", got.Build, err)
	}
	if d := cmp.Diff(want, got.Variables); d != "" {
		t.Error(d)
	}
}

// TestParseTriggerInputs: an input has the names and values that a definition may give it.
func TestParseTriggerInputs(t *testing.T) {
	p := asked()
	p["VARS"] = `{"a b": "x=y", "%x{": "}\n", "ümläut.1": null, "n": 1.50}`
	got, err := provisioner.ParseTrigger(p, giturl.Policy{})
	if d := cmp.Diff(map[string]string{"a b": "x=y", "%x{": "}\n", "ümläut.1": "", "n": "1.50"}, got.Inputs); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
}

// TestParseTriggerSparse: what the clone takes, the trigger takes too.
func TestParseTriggerSparse(t *testing.T) {
	p := asked()
	p["GIT_SPARSE"] = "docs, /e f/ ,a/b.c/"
	got, err := provisioner.ParseTrigger(p, giturl.Policy{})
	if want := []string{"docs", "/e f/", "a/b.c/"}; err != nil || !slices.Equal(got.Sparse, want) {
		t.Errorf("%q, %v; want %q", got.Sparse, err, want)
	}
}

func FuzzParseTrigger(f *testing.F) {
	f.Add("BUILD_REF", "1", "VARS", "a: 1")
	f.Add("GIT_FULLURL", "git@host:a/b", "GIT_BRANCH", "x")
	f.Add("VARS", `{"a=b": "c\0"}`, "ENVIRONMENT", "x")
	f.Add("VARS", "<<: {a: 1}", "GIT_SPARSE", "a,,b")
	f.Add("VARS", "&a a: *a", "REPO_DIRECTORY", "x/y")
	f.Add("VARS", "--- a: 1\n--- b: 2", "PRIORITY", "+5")
	f.Fuzz(func(t *testing.T, a, av, b, bv string) {
		p := asked()
		p["GIT_TOKEN"] = "q9-credential-q9"
		p[a], p[b] = av, bv
		tr, err := provisioner.ParseTrigger(p, giturl.Policy{})
		if err != nil {
			if names := named(err); slices.Contains(names, "no parameter") || len(names) == 0 {
				t.Errorf("the error names no parameter: %v", err)
			}
			if strings.Contains(err.Error(), "q9-credential-q9") {
				t.Errorf("the error tells the credential: %v", err)
			}
			return
		}
		if giturl.ValidBranch(tr.Branch) != nil || tr.URL == (giturl.URL{}) || len(tr.Instance) > 255 {
			t.Errorf("%+v", tr)
		}
		for name := range tr.Variables {
			if slices.Contains([]string{"token", "GIT_TOKEN", "GIT_FULLURL", "BUILD_REF", "VARS", ""}, name) || strings.ContainsAny(name, "=}\n\x00") || !utf8.ValidString(name) {
				t.Errorf("%q is kept as a variable", name)
			}
		}
		for name, value := range tr.Inputs {
			if name == "" || strings.ContainsAny(name, "=}\n\x00") || strings.ContainsRune(value, 0) {
				t.Errorf("%q is kept as an input, with %q", name, value)
			}
		}
		again, err := provisioner.ParseTrigger(p, giturl.Policy{})
		if d := cmp.Diff(tr, again); d != "" || err != nil {
			t.Errorf("read a second time: %v\n%s", err, d)
		}
	})
}
