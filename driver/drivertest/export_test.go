package drivertest

import "context"

// RunOne runs a single case, without the checks that follow the last one.
func RunOne(ctx context.Context, h Harness, c Case) (Report, error) {
	s, err := newSuite(ctx, h)
	if err != nil {
		return Report{}, err
	}
	return s.runCase(ctx, c), nil
}

// After runs a case that passes, and then the checks that follow the last one.
func After(ctx context.Context, h Harness) ([]Report, error) {
	s, err := newSuite(ctx, h)
	if err != nil {
		return nil, err
	}
	s.runCase(ctx, Cases()[0])
	return s.after(ctx), nil
}

// RunOneUnderFaults does the same over a line that is cut at random moments.
func RunOneUnderFaults(ctx context.Context, h Harness, c Case, seed uint64) (Report, error) {
	s, err := newSuite(ctx, h)
	if err != nil {
		return Report{}, err
	}
	s.faults = &seed
	return s.runCase(ctx, c), nil
}
