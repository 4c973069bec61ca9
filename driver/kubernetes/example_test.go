package kubernetes_test

import (
	"context"
	"fmt"
	"log"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// A build's tasks on the nodes for builds, with an upper limit for those that set none.
func ExampleNew() {
	d, err := kubernetes.New(kubernetes.Config{
		Namespace:    "builds",
		Owner:        "team-a",
		HelperImage:  "registry.example/wharf/helper:1",
		NodeSelector: map[string]string{"pool": "builds"},
		Limits:       kubernetes.Amounts{CPU: 2000, Memory: 4 << 30},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	ctx := context.Background()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "unit", Container: driver.Container{Image: "alpine:3", Entrypoint: []string{"echo", "hello"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Remove(ctx, id)
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	res, err := d.Wait(ctx, id)
	fmt.Println(res, err)
}
