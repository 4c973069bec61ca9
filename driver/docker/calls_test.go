package docker

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// counted returns a driver that records its calls of the API.
func counted(t *testing.T) (*Driver, func() []string) {
	t.Helper()
	d := open(t)
	var mu sync.Mutex
	var calls []string
	hook := func(r *http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		path := r.URL.Path[strings.Index(r.URL.Path[1:], "/")+1:]
		for _, part := range strings.Split(path, "/") {
			if len(part) == 64 {
				path = strings.Replace(path, part, "ID", 1)
			}
		}
		calls = append(calls, r.Method+" "+path)
		return nil
	}
	if err := d.hook(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	return d, func() []string {
		mu.Lock()
		defer mu.Unlock()
		list := calls
		calls = nil
		return list
	}
}

// hook gives the driver a client that calls f for each of its requests.
func (d *Driver) hook(ctx context.Context, f func(*http.Request) error) error {
	h, err := resolveHost("")
	if err != nil {
		return err
	}
	if d.api, err = client.New(append(h.options(&d.conns), client.WithHTTPResponseHook(d.seen), client.WithHTTPRequestHook(f))...); err != nil {
		return err
	}
	_, err = d.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	return err
}

// TestCalls pins what a task costs the daemon: as many calls when it runs for long and says nothing.
func TestCalls(t *testing.T) {
	for _, script := range []string{"echo hello", "echo hello; sleep 3"} {
		t.Run(script, func(t *testing.T) {
			d, calls := counted(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			wholeLife(ctx, t, d, "true") // opens the connection for events, which serves all tasks
			calls()
			wholeLife(ctx, t, d, script)
			want := []string{
				"POST /containers/create",
				"POST /containers/ID/attach", "GET /containers/ID/json", // Logs
				"GET /containers/ID/json", "POST /containers/ID/start", // Start
				"POST /containers/ID/wait", "GET /containers/ID/logs", // the end of the log
				"GET /containers/ID/json", // Wait
				"DELETE /containers/ID",
			}
			if diff := cmp.Diff(tally(want), tally(calls())); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func wholeLife(ctx context.Context, t *testing.T, d *Driver, script string) {
	t.Helper()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "counted", Container: sh(script)})
	if err != nil {
		t.Fatal(err)
	}
	r := follow(ctx, t, d, id)
	if _, err := readAll(t, r); err != nil {
		t.Fatal(err)
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		t.Fatal(res, err)
	}
	if err := d.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
}

func tally(calls []string) map[string]int {
	n := map[string]int{}
	for _, c := range calls {
		n[c]++
	}
	return n
}

func ExampleNew() {
	d, err := New(Config{Owner: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	caps, err := d.Capabilities(context.Background())
	if err != nil {
		fmt.Println(err) // no daemon answers
		return
	}
	fmt.Println(caps.OS, caps.Init, caps.Services)
	// Output: linux true true
}

func Example() {
	ctx := context.Background()
	d, err := New(Config{Owner: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	id, err := d.Create(ctx, driver.TaskSpec{
		Name:      "hello-" + newUID(),
		Container: driver.Container{Image: image, Args: []string{"sh", "-c", "echo hello; echo world"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Remove(context.WithoutCancel(ctx), id)
	logs, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer logs.Close()
	if err := d.Start(ctx, id); err != nil {
		fmt.Println(err)
		return
	}
	for entry, err := range driver.Entries(logs) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s\n", entry.Stream, entry.Line)
	}
	res, err := d.Wait(ctx, id)
	fmt.Println(res, err)
	// Output:
	// stdout: hello
	// stdout: world
	// exited with code 0 <nil>
}
