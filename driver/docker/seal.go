package docker

import (
	"bytes"
	"context"
	"encoding/gob"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/seal"
)

// With Config.SealKey the holder of a task keeps the secrets until the start, encrypted: in its environment, which the daemon shows neither in lists nor in events, and
// of which the holder's own program takes no notice. There they stay until the task is removed: the daemon changes no environment.

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
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(m.spec.Secrets); err != nil || text.Len() > mostSealed {
		return nil, err
	}
	sealed, err := seal.Seal(m.sealKey, sealUse, m.uid, text.Bytes())
	return []string{sealVariable + "=" + sealed}, err
}

// sealed returns the secrets that are still to be written into the containers of a task: those that its holder has, until the first of these containers is started.
func (d *Driver) sealed(ctx context.Context, g members) ([]driver.Secret, error) {
	begun := func(c container.Summary) bool { return c.State != container.StateCreated }
	if !g.sealed || slices.ContainsFunc(g.inits, begun) || slices.ContainsFunc(g.services, begun) {
		return nil, nil
	}
	holder, err := d.inspect(ctx, g.holder)
	if err != nil {
		return nil, err
	}
	return d.unseal(holder)
}

// unseal returns the secrets that a holder has.
func (d *Driver) unseal(holder *container.InspectResponse) (secrets []driver.Secret, err error) {
	if d.sealKey == nil {
		return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the task's secrets were encrypted with a SealKey, and this driver has none; it needs the one that the task was made with (provisioners: --worker-key)")
	}
	for _, v := range holder.Config.Env {
		sealed, is := strings.CutPrefix(v, sealVariable+"=")
		if !is {
			continue
		}
		text, err := seal.Open(d.sealKey, sealUse, holder.Config.Labels[labelUID], sealed)
		if err != nil {
			return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the task's secrets were encrypted with another SealKey than that of this driver (%v); it needs the one that the task was made with (provisioners: --worker-key)", err)
		}
		return secrets, gob.NewDecoder(bytes.NewReader(text)).Decode(&secrets)
	}
	return nil, driver.WithClass(errdefs.ErrDataLoss, "the task's secrets are lost: container %s has them no more", holder.Name)
}

// reveal writes secrets into the containers of a task, none of which was started yet.
func (d *Driver) reveal(ctx context.Context, g members, secrets []driver.Secret) error {
	if len(secrets) == 0 {
		return nil
	}
	names := map[string]string{g.main: driver.MainContainer}
	for _, c := range slices.Concat(g.inits, g.services) {
		names[c.ID] = c.Labels[labelContainer]
	}
	spec := driver.TaskSpec{Secrets: secrets}
	var all sync.WaitGroup
	errs := make(chan error, len(names))
	for id, name := range names {
		all.Go(func() {
			c, err := d.inspect(ctx, id)
			if err == nil && phaseOf(c) == phaseCreated { // another process may start the task too
				err = d.secrets(ctx, id, spec.SecretsOf(name))
			}
			errs <- err
		})
	}
	all.Wait()
	for range names {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// refusedSecrets reports whether an error of reveal is the daemon's word that a file cannot be: then it never can.
func refusedSecrets(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !unreachable(err) && !errdefs.IsNotFound(err)
}
