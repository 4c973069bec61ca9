package docker

import (
	"testing"

	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// A process that dies in the midst of a Create or a copy leaves containers behind. List and RemoveVolume find them, so that others
// can clean up.
func TestOrphans(t *testing.T) {
	t.Parallel()
	d, ctx := open(t), t.Context()
	labels := map[string]string{"build": "dead"}
	spec := driver.TaskSpec{Name: "half", Labels: labels, Container: sh(""), Services: []driver.Service{{Container: sh("")}}}
	network, err := d.networkOf(&spec)
	if err != nil {
		t.Fatal(err)
	}
	half := &maker{Driver: d, spec: &spec, uid: newUID()}
	if _, err := half.holder(ctx, network); err != nil {
		t.Fatal(err)
	}
	id, err := d.CreateVolume(ctx, driver.VolumeSpec{Name: "volume", Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := splitVolume(id)
	if _, _, err := d.helper(ctx, name); err != nil {
		t.Fatal(err)
	}

	tasks, err := d.List(ctx, driver.ListOptions{Labels: labels})
	if err != nil || len(tasks) != 1 || tasks[0].Name != "half" || tasks[0].State != driver.StateUnknown {
		t.Errorf("List: %+v, %v", tasks, err)
	}
	for _, task := range tasks {
		if err := d.Remove(ctx, task.ID); err != nil {
			t.Error(err)
		}
	}
	if err := d.RemoveVolume(ctx, id); err != nil {
		t.Error(err)
	}
	left, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.filters("", nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range left.Items {
		t.Errorf("%s is left", c.Names)
		_ = d.removeContainer(ctx, c.ID)
	}
	_ = d.RemoveVolume(ctx, id)
}

// A task of several containers is listed once.
func TestListGroup(t *testing.T) {
	t.Parallel()
	d := open(t)
	labels := map[string]string{"build": "alive"}
	id := create(t, d, driver.TaskSpec{Labels: labels, Container: sh(""), Services: []driver.Service{{Container: named("s")}}})
	tasks, err := d.List(t.Context(), driver.ListOptions{Labels: labels})
	if err != nil || len(tasks) != 1 || tasks[0].ID != id {
		t.Errorf("List: %+v, %v; want %s", tasks, err, id)
	}
}

func named(name string) driver.Container {
	c := sh("")
	c.Name = name
	return c
}
