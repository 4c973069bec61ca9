package driver_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// runtime returns a runtime in memory with two commands. A program would open one of the drivers in the folders beside
// this package.
func runtime() *fake.Runtime {
	return fake.New(fake.Config{Programs: map[string]fake.Program{
		"greet": func(_ context.Context, p *fake.Proc) int {
			fmt.Fprintln(p.Stdout(), "hello")
			fmt.Fprintln(p.Stderr(), "nobody is there")
			return 3
		},
		"serve": func(_ context.Context, p *fake.Proc) int {
			fmt.Fprintln(p.Stdout(), "serving")
			<-p.Signals()
			fmt.Fprintln(p.Stdout(), "good night")
			return 0
		},
		"build": func(_ context.Context, p *fake.Proc) int {
			w, err := p.Create("/work/result", 0o644)
			if err != nil {
				return 1
			}
			defer w.Close()
			io.WriteString(w, "built")
			return 0
		},
	}})
}

// A task from its beginning to its end. The log is opened before the start, so that it has every byte as it is written.
func Example() {
	ctx := context.Background()
	var d driver.Driver = runtime().Open("example")
	defer d.Close()

	id, err := d.Create(ctx, driver.TaskSpec{
		Name:      "unit",
		Container: driver.Container{Image: "alpine:3", Args: []string{"greet"}},
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
		fmt.Printf("%s: %s\n", entry.Stream, entry.Line)
	}
	res, err := d.Wait(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res, "- a success:", res.Succeeded())
	// Output:
	// stdout: hello
	// stderr: nobody is there
	// exited with code 3 - a success: false
}

// A task outlives the driver value, and the process, that made it. Another finds it by its labels.
func ExampleDriver_List() {
	ctx, rt := context.Background(), runtime()
	first := rt.Open("example")
	id, err := first.Create(ctx, driver.TaskSpec{
		Name:      "server",
		Labels:    map[string]string{"build": "17"},
		Container: driver.Container{Image: "alpine:3", Args: []string{"serve"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := first.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	first.Close()

	second := rt.Open("example")
	defer second.Close()
	tasks, err := second.List(ctx, driver.ListOptions{Labels: map[string]string{"build": "17"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range tasks {
		fmt.Println(task.Name, "is", task.State)
		if err := second.Remove(ctx, task.ID); err != nil {
			log.Fatal(err)
		}
	}
	// Output: server is running
}

// Stop gives a task time to end by itself.
func ExampleDriver_Stop() {
	ctx := context.Background()
	d := runtime().Open("example")
	defer d.Close()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "server", Container: driver.Container{Image: "alpine:3", Args: []string{"serve"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Remove(context.WithoutCancel(ctx), id)
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	logs, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		log.Fatal(err)
	}
	defer logs.Close()
	for entry, err := range driver.Entries(logs) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", entry.Line)
		if string(entry.Line) == "serving" {
			go d.Stop(ctx, id, driver.StopOptions{Grace: 10 * time.Second})
		}
	}
	// Output:
	// serving
	// good night
}

// Files go in and out as tar streams; the image needs no tar.
func ExampleDriver_CopyOut() {
	ctx := context.Background()
	d := runtime().Open("example")
	defer d.Close()
	work, err := d.CreateVolume(ctx, driver.VolumeSpec{Name: "work"})
	if err != nil {
		log.Fatal(err)
	}
	id, err := d.Create(ctx, driver.TaskSpec{Name: "build", Container: driver.Container{
		Image: "alpine:3", Args: []string{"build"},
		Mounts: []driver.Mount{{Volume: work, Path: "/work"}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Wait(ctx, id); err != nil {
		log.Fatal(err)
	}
	if err := d.Remove(ctx, id); err != nil {
		log.Fatal(err)
	}

	stream, err := d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Volume: work}, Path: "/result"})
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	files := tar.NewReader(stream)
	h, err := files.Next()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(h.Name, ": ")
	io.Copy(os.Stdout, files)
	// Output: result: built
}

// Errors have a class, and the runtime's own words.
func ExampleError() {
	d := runtime().Open("example")
	defer d.Close()
	_, err := d.Wait(context.Background(), "task-of-yesterday")
	var e *driver.Error
	if errors.As(err, &e) && errdefs.IsNotFound(err) {
		fmt.Printf("%s of %q: %v\n", e.Op, e.Subject, e.Err)
	}
	// Output: wait of "task-of-yesterday": there is no such task
}

// What a runtime cannot do is refused, and names itself.
func ExampleUnsupported() {
	d := runtime().Open("example")
	defer d.Close()
	_, err := d.Create(context.Background(), driver.TaskSpec{
		Name:      "foreign",
		Container: driver.Container{Image: "alpine:3", Platform: "linux/s390x"},
	})
	fmt.Println(errors.Is(err, driver.ErrUnsupported), "-", err)
	// Output: true - create foreign: Container.Platform is not supported by this runtime
}

// Abilities that only some runtimes have are called through functions.
func ExampleExec() {
	ctx := context.Background()
	d := runtime().Open("example")
	defer d.Close()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "server", Container: driver.Container{Image: "alpine:3", Args: []string{"serve"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Remove(context.WithoutCancel(ctx), id)
	if err := d.Start(ctx, id); err != nil {
		log.Fatal(err)
	}
	var out bytes.Buffer
	res, err := driver.Exec(ctx, d, id, driver.ExecSpec{Args: []string{"greet"}, Stdout: &out})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v: %s", res, out.String())
	// Output: exited with code 3: hello
}

// SafeTar stands between a caller's stream and whoever unpacks it.
func ExampleSafeTar() {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	w.WriteHeader(&tar.Header{Name: "../../etc/passwd", Mode: 0o644})
	w.Close()

	safe := driver.SafeTar(&stream, false)
	defer safe.Close()
	_, err := io.Copy(io.Discard, safe)
	fmt.Println(errdefs.IsInvalidArgument(err), "-", err)
	// Output: true - tar entry "../../etc/passwd": leaves the directory
}
