package docker

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/seal"
)

// With Config.SealKey the holder of a task keeps the secrets until the start, encrypted: in its environment, which the daemon shows neither in lists nor in events, and
// of which the holder's own program takes no notice.

const (
	sealVariable = "WHARF_SEALED"
	sealUse      = "wharf docker secrets"
	// mostSealed is how many bytes are kept so: the kernel takes 128 KiB in one variable.
	mostSealed = 64 << 10
)

// seal returns the environment of the holder, or none if the secrets are written at once.
func (m *maker) seal() ([]string, error) {
	if m.sealKey == nil || len(m.spec.Secrets) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(m.spec.Secrets)
	if err != nil || len(text) > mostSealed {
		return nil, err
	}
	sealed, err := seal.Seal(m.sealKey, sealUse, m.uid, text)
	return []string{sealVariable + "=" + sealed}, err
}

// sealed returns the secrets that the holder of a task has, or none.
func (d *Driver) sealed(ctx context.Context, g members) (*driver.TaskSpec, error) {
	if !g.sealed {
		return &driver.TaskSpec{}, nil
	}
	holder, err := d.inspect(ctx, g.holder)
	if err != nil {
		return nil, err
	}
	return d.unseal(holder)
}

// reveal writes secrets into the containers of a task that were not started yet.
func (d *Driver) reveal(ctx context.Context, g members, spec *driver.TaskSpec) error {
	ids := map[string]string{g.main: driver.MainContainer}
	for _, all := range [][]container.Summary{g.inits, g.services} {
		for _, c := range all {
			if c.State == container.StateCreated {
				ids[c.ID] = c.Labels[labelContainer]
			}
		}
	}
	var all sync.WaitGroup
	errs := make(chan error, len(ids))
	for id, name := range ids {
		all.Go(func() { errs <- d.secrets(ctx, id, spec.SecretsOf(name)) })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// unseal returns the secrets that a holder has.
func (d *Driver) unseal(holder *container.InspectResponse) (*driver.TaskSpec, error) {
	if d.sealKey == nil {
		return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the task's secrets were encrypted with a SealKey, and this driver has none; it needs the one that the task was made with (provisioners: --worker-key)")
	}
	spec := &driver.TaskSpec{}
	for _, v := range holder.Config.Env {
		sealed, is := strings.CutPrefix(v, sealVariable+"=")
		if !is {
			continue
		}
		text, err := seal.Open(d.sealKey, sealUse, holder.Config.Labels[labelUID], sealed)
		if err != nil {
			return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the task's secrets were encrypted with another SealKey than that of this driver (%v); it needs the one that the task was made with (provisioners: --worker-key)", err)
		}
		return spec, json.Unmarshal(text, &spec.Secrets)
	}
	return nil, driver.WithClass(errdefs.ErrDataLoss, "the task's secrets are lost: container %s has them no more", holder.Name)
}
