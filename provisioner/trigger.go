package provisioner

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// Trigger is a build that somebody asks for, as the parameters of the request say it.
type Trigger struct {
	// Build is the build's number (BUILD_REF), and Instance the installation that it belongs to (WHARF_INSTANCE): together they name the build.
	Build    uint64
	Instance string
	// ProjectID (WHARF_PROJECT_ID), Group (REPO_GROUP) and Name (REPO_NAME) are the project; 0 and empty if nothing says them.
	ProjectID   uint64
	Group, Name string
	// URL is what is cloned (GIT_FULLURL), Branch the branch (GIT_BRANCH or REPO_BRANCH), and Commit, if not empty, the commit on it (GIT_COMMIT).
	URL    giturl.URL
	Branch string
	Commit string
	// Credential for the repository (GIT_TOKEN): a token or password for HTTPS, or a private key for SSH. It goes to the clone alone.
	Credential string
	// Stage is the only one that is built (RUN_STAGES); empty is all of them.
	Stage string
	// Environment (ENVIRONMENT) is empty for none.
	Environment string
	// Inputs (VARS) are the values of the definition's inputs.
	Inputs map[string]string
	// Priority (PRIORITY) is -100 to 100; what has a larger one is started first.
	Priority int
	// Submodules and LFS (GIT_SUBMODULES, GIT_LFS) fetch these too; Sparse (GIT_SPARSE) are the directories that are checked out, all if
	// empty; Directory (REPO_DIRECTORY) is where in the repository the definition is.
	Submodules, LFS bool
	Sparse          []string
	Directory       string
	// Variables are all other parameters: they become variables of the build.
	Variables map[string]string
}

// ParameterError is a parameter that cannot be used.
type ParameterError struct {
	// Parameter is its name.
	Parameter string
	// Problem says what is wrong with it and what would be right. It never holds a secret.
	Problem string
}

func (e *ParameterError) Error() string { return e.Parameter + ": " + e.Problem }

// parser takes parameters out of those of a request, and collects what is wrong with them.
type parser struct {
	rest map[string]string
	errs []error
}

func (p *parser) fail(name, format string, args ...any) {
	p.errs = append(p.errs, &ParameterError{name, fmt.Sprintf(format, args...)})
}

// take returns a parameter's value, and takes it away.
func (p *parser) take(name string) string {
	v := p.rest[name]
	delete(p.rest, name)
	return v
}

// text takes a value that is shown to people and put into labels.
func (p *parser) text(name string) string {
	v := p.take(name)
	if len(v) > maxText {
		p.fail(name, "has %d bytes; %d are the most", len(v), maxText)
	} else if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.fail(name, "holds control characters")
	}
	return v
}

func (p *parser) number(name string) uint64 {
	v := p.take(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		p.fail(name, "%q is no whole number from 0 to %d, written with digits alone", shortened(v), uint64(1<<64-1))
	}
	return n
}

func (p *parser) flag(name string) bool {
	v := p.take(name)
	if v == "" {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		p.fail(name, "%q: must be true or false", shortened(v))
	}
	return b
}

// fitsVariable reports whether ${name} can stand for a variable of that name: any text can, but for the characters that would end it.
func fitsVariable(name string) bool { return fits(name, "={}") && !strings.HasPrefix(name, "%") }

// fitsInput reports whether a definition can have an input of that name, and a worker be given it, as name=value.
func fitsInput(name string) bool { return fits(name, "=}") }

// fits reports whether a name is neither empty nor long, without space at its ends, and without control characters and those that are given.
func fits(name, without string) bool {
	return name != "" && len(name) <= maxText && name == strings.TrimSpace(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(without, r) })
}

// told is the name of a parameter in an error. One that fits no variable is not told: it may be a body that was sent as another type than it is.
func told(name string) string {
	if utf8.ValidString(name) && fitsVariable(name) {
		return shortened(name)
	}
	return "parameters"
}

// ParseTrigger reads the parameters of a build. The error joins a [ParameterError] for each that cannot be used.
func ParseTrigger(parameters map[string]string, policy giturl.Policy) (Trigger, error) {
	p := &parser{rest: maps.Clone(parameters)}
	if p.rest == nil {
		p.rest = map[string]string{}
	}
	delete(p.rest, tokenParameter)
	if len(p.rest) > maxParameters {
		return Trigger{}, &ParameterError{"parameters", fmt.Sprintf("there are %d; %d are the most", len(p.rest), maxParameters)}
	}
	for name, value := range p.rest {
		if !utf8.ValidString(name) || !utf8.ValidString(value) || strings.ContainsRune(value, 0) || strings.ContainsRune(name, 0) {
			p.fail(told(name), "one is no text in UTF-8, or holds a NUL")
			delete(p.rest, name)
		} else if len(value) > maxValue {
			p.fail(told(name), "has %d bytes; %d are the most", len(value), maxValue)
			delete(p.rest, name)
		}
	}
	t := Trigger{
		Build: p.number("BUILD_REF"), Instance: p.text("WHARF_INSTANCE"), ProjectID: p.number("WHARF_PROJECT_ID"),
		Group: p.text("REPO_GROUP"), Name: p.text("REPO_NAME"), Credential: p.take("GIT_TOKEN"), Environment: p.text("ENVIRONMENT"),
		Submodules: p.flag("GIT_SUBMODULES"), LFS: p.flag("GIT_LFS"),
	}
	if parameters["BUILD_REF"] == "" {
		p.fail("BUILD_REF", "is missing: it names the build, as a number")
	}
	p.repository(&t, policy)
	if t.Stage = p.text("RUN_STAGES"); t.Stage == "ALL" {
		t.Stage = ""
	}
	p.inputs(&t)
	if v := p.take("PRIORITY"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < -100 || n > 100 {
			p.fail("PRIORITY", "%q: must be a number from -100 to 100", shortened(v))
		}
		t.Priority = n
	}
	for _, name := range slices.Sorted(maps.Keys(p.rest)) {
		if !fitsVariable(name) {
			p.fail(told(name), "one has a name of %d bytes that cannot be that of a variable: it must have from 1 to %d bytes without control characters, \"=\", \"{\" and \"}\", no space at its ends, "+
				"and no \"%%\" first; a body in JSON needs the content type application/json", len(name), maxText)
			break
		}
	}
	t.Variables = p.rest
	return t, errors.Join(p.errs...)
}

// repository takes what says which commit is built.
func (p *parser) repository(t *Trigger, policy giturl.Policy) {
	branch, same := p.text("GIT_BRANCH"), p.text("REPO_BRANCH")
	t.Branch = branch
	switch {
	case branch == "":
		t.Branch = same
	case same != "" && same != branch:
		p.fail("REPO_BRANCH", "%q is another branch than GIT_BRANCH, %q", shortened(same), shortened(branch))
	}
	if t.Branch == "" {
		p.fail("GIT_BRANCH", "is missing: it is the branch to build")
	} else if err := giturl.ValidBranch(t.Branch); err != nil {
		p.fail("GIT_BRANCH", "%v", err)
	}
	address := p.take("GIT_FULLURL")
	u, err := giturl.Parse(address)
	switch {
	case address == "":
		p.fail("GIT_FULLURL", "is missing: it is the URL to clone")
	case err != nil:
		p.fail("GIT_FULLURL", "%v", err)
	default:
		if err := policy.Check(u); err != nil {
			p.fail("GIT_FULLURL", "%v", err)
		}
	}
	t.URL = u
	t.Commit = strings.ToLower(p.text("GIT_COMMIT"))
	if t.Commit != "" {
		if err := giturl.ValidCommit(t.Commit); err != nil {
			p.fail("GIT_COMMIT", "%v", err)
		}
	}
	for dir := range strings.SplitSeq(p.take("GIT_SPARSE"), ",") {
		if dir = strings.TrimSpace(dir); dir == "" {
			continue
		}
		if _, err := giturl.Directory(dir); err != nil { // by the rule of the clone, which would fail otherwise
			p.fail("GIT_SPARSE", "%q: %v", shortened(dir), err)
		}
		t.Sparse = append(t.Sparse, dir)
	}
	if t.Directory = p.text("REPO_DIRECTORY"); t.Directory != "" {
		if err := inside(t.Directory); err != nil {
			p.fail("REPO_DIRECTORY", "%q: %v", shortened(t.Directory), err)
		}
	}
}

// inside reports why a path is no directory inside of a repository.
func inside(dir string) error {
	if strings.HasPrefix(dir, "/") || strings.HasPrefix(dir, "-") || strings.ContainsAny(dir, "\\\n\r") {
		return errors.New("must be a path in the repository, with \"/\" between its parts")
	}
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return fmt.Errorf("must not have %q as a part", part)
		}
	}
	return nil
}

// inputs takes VARS, a map in YAML or JSON.
func (p *parser) inputs(t *Trigger) {
	text := p.take("VARS")
	if strings.TrimSpace(text) == "" {
		return
	}
	var node, more yaml.Node
	d := yaml.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&node); err != nil {
		p.fail("VARS", "is no YAML") // the words of the parser may quote a secret
		return
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		p.fail("VARS", "must be one YAML document")
		return
	}
	if node.Kind != yaml.DocumentNode || len(node.Content) != 1 || node.Content[0].Kind != yaml.MappingNode {
		p.fail("VARS", "must be a map of names to values, in YAML or JSON")
		return
	}
	t.Inputs = map[string]string{}
	members := node.Content[0].Content
	for i := 0; i+1 < len(members); i += 2 {
		name, value := members[i], members[i+1]
		switch {
		case name.Kind != yaml.ScalarNode || name.Value == "":
			p.fail("VARS", "line %d: a name must be text", name.Line)
		case !fitsInput(name.Value):
			p.fail("VARS", "line %d: %q cannot be the name of an input: it must have at most %d bytes, no \"=\", \"}\" and control characters, and no space at its ends",
				name.Line, shortened(name.Value), maxText)
		case value.Kind != yaml.ScalarNode:
			p.fail("VARS", "%s: must be text, a number, or true or false", shortened(name.Value))
		case strings.ContainsRune(value.Value, 0):
			p.fail("VARS", "%s: its value holds a NUL, which no program can be given", shortened(name.Value))
		default:
			if _, twice := t.Inputs[name.Value]; twice {
				p.fail("VARS", "%s: is given twice", shortened(name.Value))
			}
			if value.Tag == "!!null" {
				value.Value = ""
			}
			t.Inputs[name.Value] = value.Value
		}
	}
}

// shortened keeps an error readable.
func shortened(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:77], "") + "..."
}
