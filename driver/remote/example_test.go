package remote_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/driver/remote"
)

// One process serves its driver on a socket, and another uses it. Here both are the same one, and the runtime is in memory.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "driver.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- remote.Serve(ctx, l, inMemory()) }()

	d, err := remote.New(remote.Config{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}})
	if err != nil {
		log.Fatal(err)
	}
	id, err := d.Create(ctx, driver.TaskSpec{Name: "hello", Container: driver.Container{Image: "app", Entrypoint: []string{"hello"}}})
	if err == nil {
		err = d.Start(ctx, id)
	}
	if err != nil {
		log.Fatal(err)
	}
	res, err := d.Wait(ctx, id)
	fmt.Println(res, err)

	d.Close()
	cancel()
	fmt.Println(<-served)
	// Output:
	// exited with code 0 <nil>
	// <nil>
}

func inMemory() driver.Driver {
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"hello": func(context.Context, *fake.Proc) int { return 0 }}})
	return rt.Open("me")
}
