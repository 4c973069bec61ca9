package provisioner

import "context"

// Load has the runtime asked which workers there are; the API answers 503 before that.
func (p *Provisioner) Load(ctx context.Context) error { return p.refresh(ctx) }
