package worker_test

import (
	"context"
	"fmt"
	"os"

	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// A build on the runtime in memory; on a real one only the driver differs.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	runtime := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(_ context.Context, p *fake.Proc) int {
		_, _ = fmt.Fprintln(p.Stdout(), "hello from", p.Args()[len(p.Args())-1])
		return 0
	}}})
	def, err := pipeline.Parse(".wharf-ci.yml", []byte("build:\n  greet: {container: {image: alpine:3, cmds: [echo hello]}}\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := def.Plan(pipeline.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	state, err := lease.Open(dir + "/state")
	if err != nil {
		fmt.Println(err)
		return
	}
	build, err := worker.New(worker.Config{Driver: runtime.Open("me"), Plan: plan, Results: dir + "/results", State: state})
	if err != nil {
		fmt.Println(err)
		return
	}
	outcome, err := build.Run(context.Background())
	fmt.Println(outcome.State, err)

	for event, err := range journal.Read(dir + "/results") {
		if err != nil {
			fmt.Println(err)
			return
		}
		if event.Kind == worker.KindLog {
			fmt.Printf("%s: %s\n", event.Step, event.Line)
		}
	}
	// Output:
	// succeeded <nil>
	// build--greet: hello from echo hello
}
