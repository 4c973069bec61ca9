package drivers

import (
	"context"
	"net/url"

	"github.com/wharfci/wharf/driver/kubernetes/kubernetestest"
)

// This is a variable as it is elsewhere, where no node can be reached.
var kubernetesHarness = func(ctx context.Context, u *url.URL, node string) (*Tested, error) {
	cfg, err := kubernetesConfig(u)
	if err != nil {
		return nil, err
	}
	c, err := kubernetestest.New(ctx, cfg, node, nil)
	if err != nil {
		return nil, err
	}
	// The other process asks this one what the suite's images run.
	of := *u
	query := of.Query()
	query.Set("mirrors", "localhost="+c.Config.Mirrors["localhost"])
	of.RawQuery = query.Encode()
	return &Tested{Harness: c.Harness, URL: of.String(), close: c.Close}, nil
}
