//go:build linux

package containerd_test

import (
	"context"
	"fmt"
	"log"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
)

// A task is made, started, read and removed.
func ExampleNew() {
	ctx := context.Background()
	d, err := containerd.New(containerd.Config{Owner: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	id, err := d.Create(ctx, driver.TaskSpec{
		Name:      "hello",
		Container: driver.Container{Image: "busybox:1", Args: []string{"echo", "hello"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Remove(context.WithoutCancel(ctx), id)
	logs, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		log.Fatal(err)
	}
	defer logs.Close()
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	for entry, err := range driver.Entries(logs) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", entry.Line)
	}
	res, err := d.Wait(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res)
}

// What an installation allows belongs to its configuration.
func ExampleConfig_Validate() {
	cfg := containerd.Config{Owner: "ci", Subnet: "10.87.0.1/16"}
	fmt.Println(cfg.Validate())
	// Output:
	// Subnet "10.87.0.1/16": must be a range of IPv4 addresses of at least 16, such as 10.87.0.0/16
}
