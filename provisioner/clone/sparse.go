package clone

import (
	"context"
	"fmt"
	"strings"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// checkSparse checks the sparse paths and puts them into one form.
func (c *cloner) checkSparse() error {
	var paths []string
	for _, p := range c.o.Sparse {
		clean, err := giturl.Directory(p)
		if err != nil {
			return invalid(fmt.Errorf("the sparse path %q cannot be used: %w", p, err))
		}
		paths = append(paths, clean)
	}
	c.o.Sparse = paths
	return nil
}

// setSparse says which directories are checked out, before anything is.
func (c *cloner) setSparse(ctx context.Context) error {
	if len(c.o.Sparse) == 0 {
		return nil
	}
	_, err := c.call(ctx, command{dir: c.o.Dir, in: strings.Join(c.o.Sparse, "\n") + "\n", args: []string{"sparse-checkout", "set", "--cone", "--stdin"}})
	return err
}

// sparsePaths sees that the paths are there: of one that is not Git says nothing, and checks nothing out.
func (c *cloner) sparsePaths(ctx context.Context) error {
	for _, p := range c.o.Sparse {
		out, err := c.local(ctx, c.o.Dir, "ls-tree", "-d", "-z", "HEAD", "--", p)
		if err != nil {
			return err
		}
		if out == "" {
			return &Error{Reason: NoPath, Err: fmt.Errorf("%q", p)}
		}
	}
	return nil
}
