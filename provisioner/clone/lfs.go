package clone

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// lfsAllowed judges the servers that the commit's own .lfsconfig names for Git LFS.
func (c *cloner) lfsAllowed(ctx context.Context, dir string) error {
	if !c.o.LFS {
		return nil
	}
	out, err := c.local(ctx, dir, "ls-tree", "-z", "HEAD", "--", ".lfsconfig")
	if err != nil || out == "" {
		return err
	}
	if !strings.HasPrefix(out, "100") {
		return &Error{Reason: NotAllowed, Err: errors.New(".lfsconfig is no regular file")}
	}
	out, err = c.remote(ctx, dir, "config", "--blob", "HEAD:.lfsconfig", "--no-includes", "-z", "--list") // which a partial clone fetches
	if err != nil {
		return err
	}
	for _, entry := range fields(out) {
		key, value, _ := strings.Cut(entry, "\n")
		if !strings.HasSuffix(strings.ToLower(key), "url") {
			continue
		}
		if err := c.allowed(value); err != nil {
			return &Error{Reason: NotAllowed, Err: fmt.Errorf("%s in .lfsconfig: %w", clean([]byte(key)), err)}
		}
	}
	return nil
}

// allowed judges a URL that the repository names.
func (c *cloner) allowed(s string) error {
	u, err := giturl.Parse(s)
	if err != nil {
		return err
	}
	return c.o.Policy.Check(u)
}
