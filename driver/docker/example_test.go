package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
)

// A task from its creation to its removal, with its log.
func ExampleNew() {
	ctx := context.Background()
	d, err := docker.New(docker.Config{Owner: "example-new"})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	id, err := d.Create(ctx, driver.TaskSpec{
		Name: "unit",
		Container: driver.Container{
			Image: "localhost/wharf/busybox:1",
			Args:  []string{"sh", "-c", "echo tests passed; exit 3"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Remove(context.WithoutCancel(ctx), id)

	lines, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		log.Fatal(err)
	}
	defer lines.Close()
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	for line, err := lines.Next(); !errors.Is(err, io.EOF); line, err = lines.Next() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", line.Line)
	}
	res, err := d.Wait(ctx, id)
	fmt.Println(res, err)
	// Output:
	// tests passed
	// exited with code 3 <nil>
}

// What an installation allows beyond the safe choice stands in the configuration, and shows in the capabilities.
func ExamplePolicy() {
	d, err := docker.New(docker.Config{Allow: docker.Policy{HostPaths: []string{"/srv/toolchains"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	caps, err := d.Capabilities(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("host paths:", caps.HostPaths, "- privileged:", caps.Privileged)
	// Output: host paths: true - privileged: false
}
