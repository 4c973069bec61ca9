// Command kubernetes runs a container in a pod, follows its log, and copies a file out of it when it has ended.
//
//	go run ./examples/kubernetes [IMAGE]
//
// IMAGE needs a shell; the default is alpine:3. The cluster and namespace are those of the kubeconfig's current context; its nodes need the helper's
// image, see "wharf helper-image".
package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

func main() {
	image := "alpine:3"
	if len(os.Args) > 1 {
		image = os.Args[1]
	}
	d, err := kubernetes.New(kubernetes.Config{Owner: "example"})
	if err != nil {
		log.Fatal(err)
	}
	err = run(context.Background(), d, image)
	if err := errors.Join(err, d.Close()); err != nil {
		log.Fatal(err)
	}
}

// run knows the contract only: it is the same on every runtime.
func run(ctx context.Context, d driver.Driver, image string) (err error) {
	id, err := d.Create(ctx, driver.TaskSpec{
		Name:      fmt.Sprintf("hello-%d", os.Getpid()),
		Container: driver.Container{Image: image, Entrypoint: []string{"sh", "-c", "echo hello, world | tee /tmp/greeting"}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Remove(ctx, id)) }()

	lines, err := d.Logs(ctx, id, driver.LogOptions{Follow: true}) // before Start, so that nothing is missed
	if err != nil {
		return err
	}
	defer lines.Close()
	if err := d.Start(ctx, id); err != nil {
		return err
	}
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		fmt.Printf("%v: %s\n", line.Stream, line.Line)
	}
	result, err := d.Wait(ctx, id)
	if err != nil {
		return err
	}
	fmt.Println(result)

	out, err := d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Task: id}, Path: "/tmp/greeting"})
	if err != nil {
		return err
	}
	defer out.Close()
	files := tar.NewReader(out) // one entry: the file itself
	header, err := files.Next()
	if err != nil {
		return err
	}
	fmt.Printf("%s: ", header.Name)
	_, err = io.Copy(os.Stdout, files)
	return err
}
