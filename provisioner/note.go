package provisioner

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// A worker that the runtime refuses to start is stopped, and the runtime keeps only that. Why is kept beside it, in the labels of an empty volume.

func notesOf(id string, task driver.TaskID) driver.ListOptions {
	return driver.ListOptions{Labels: map[string]string{LabelRole: roleNote, LabelWorker: id, LabelTask: MarkOf(task)}}
}

// refuse ends a worker that cannot be started.
func (p *Provisioner) refuse(task driver.TaskID, id string, why error) error {
	reason := capped(why.Error())
	p.fleet.refuse(task, reason)
	labels := notesOf(id, task).Labels
	spread(labels, labelReason, reason)
	if _, err := p.cfg.Driver.CreateVolume(p.ctx, driver.VolumeSpec{Name: "note-" + random(), Labels: labels}); err != nil {
		p.log.Warn("why a worker could not be started is not kept on the runtime", "worker", id, "error", err)
	}
	err := p.cfg.Driver.Stop(p.ctx, task, driver.StopOptions{})
	if errdefs.IsNotFound(err) { // it was removed meanwhile, and its notes maybe before this one was made
		_, err = removeVolumes(p.ctx, p.cfg.Driver, notesOf(id, task), all)
	}
	return err
}

// refusal returns why a worker could not be started, or nothing.
func (p *Provisioner) refusal(ctx context.Context, m *member) string {
	if known := p.fleet.refusalOf(m); known != "" {
		return known
	}
	why, err := Refusal(ctx, p.cfg.Driver, m.worker.ID, m.task.ID)
	if err != nil {
		p.log.Warn("it is not known whether a worker was refused", "worker", m.worker.ID, "error", err)
	}
	return why
}

// Refusal returns why the runtime did not start a worker that a provisioner has ended for that; empty if there was no such reason.
func Refusal(ctx context.Context, d driver.Driver, id string, task driver.TaskID) (string, error) {
	notes, err := d.ListVolumes(ctx, notesOf(id, task))
	if err != nil || len(notes) == 0 {
		return "", err
	}
	return gather(notes[0].Labels, labelReason), nil
}
