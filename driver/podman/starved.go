package podman

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// starvation reports whether a container that was killed under a memory limit must be taken to be out of memory although
// the record does not say so. On control groups of version 1 conmon misses many a notice of the kernel's, all the more when
// the container ends with it. So a kill that nobody asked Podman for is one by the kernel.
func (d *Driver) starvation(ctx context.Context, c *inspected) bool {
	if phaseOf(c) != phaseExited || c.State.OOMKilled || c.State.ExitCode != 128+9 || c.HostConfig == nil || c.HostConfig.Memory == 0 {
		return false
	}
	asked, err := d.asked(ctx, c.ID, actionKill, actionStop)
	return err == nil && !asked
}

// asked reports whether somebody asked Podman for one of these actions on a container.
func (d *Driver) asked(ctx context.Context, id string, actions ...string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	q := filters(map[string][]string{"container": {id}, "event": actions})
	q.Set("stream", "false")
	q.Set("since", "1")
	body, err := d.api.open(ctx, "GET", "/events", q, nil)
	if err != nil {
		return false, err
	}
	defer body.Close()
	var m event
	err = json.NewDecoder(body).Decode(&m)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}
