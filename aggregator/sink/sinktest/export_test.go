package sinktest

import "context"

// RunOne runs a single case.
func RunOne(ctx context.Context, c Config, one Case) (Report, error) {
	s, err := newSuite(c)
	if err != nil {
		return Report{}, err
	}
	return s.run(ctx, one), nil
}
