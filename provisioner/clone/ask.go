package clone

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// askBranch finds out which branch the repository's HEAD names.
func (c *cloner) askBranch(ctx context.Context) error {
	var out string
	err := c.following(ctx, func() (err error) {
		out, err = c.remote(ctx, c.private, "ls-remote", "--symref", "--", c.url.Remote(), "HEAD")
		return err
	})
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		name, found := strings.CutPrefix(line, "ref: refs/heads/")
		if name, _, _ = strings.Cut(name, "\t"); found && giturl.ValidBranch(name) == nil {
			c.o.Branch = name
			return nil
		}
	}
	return &Error{Reason: NoBranch, Err: errors.New("the repository is empty, or its HEAD names no branch"), Mend: "Say which branch to clone."}
}

// suggest adds to the error of a branch that does not exist those that may be meant, if the server tells soon.
func (c *cloner) suggest(ctx context.Context, err error) error {
	e, _ := errors.AsType[*Error](err)
	asking, cancel := context.WithTimeout(ctx, c.o.limits.ask)
	defer cancel()
	out, _ := c.call(asking, command{dir: c.private, network: true, quiet: true, args: []string{"ls-remote", "--heads", "--refs", "--", c.url.Remote()}})
	var names []string
	for line := range strings.Lines(out) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "\trefs/heads/"); ok {
			names = append(names, name)
		}
	}
	made := *e
	made.Err = errors.New(strconv.Quote(c.o.Branch))
	switch similar := similar(c.o.Branch, names); {
	case len(similar) > 0:
		made.Mend = "There is " + strings.Join(similar, ", ") + "."
	case len(names) > 0 && len(names) <= 5:
		made.Mend = "There is " + strings.Join(quoted(names), ", ") + "."
	case out == "" && asking.Err() == nil:
		made.Mend = "The server shows no branch at all: the repository is empty, or the URL leads to something else."
	}
	return &made
}

// similar returns the names, at most three, quoted, that someone who wrote name may have meant, the likeliest first.
func similar(name string, names []string) []string {
	distance := func(other string) int {
		a, b := strings.ToLower(name), strings.ToLower(other)
		if len(b) > 0 && (strings.HasSuffix(a, "/"+b) || strings.HasSuffix(b, "/"+a)) {
			return 1
		}
		return levenshtein.Distance(a, b, nil)
	}
	var near []string
	for _, other := range names {
		if distance(other) <= max(2, len(name)/4) {
			near = append(near, other)
		}
	}
	slices.SortStableFunc(near, func(a, b string) int { return distance(a) - distance(b) })
	return quoted(near[:min(3, len(near))])
}

func quoted(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, strconv.Quote(clean([]byte(name))))
	}
	return out
}
