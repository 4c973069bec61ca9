package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// A program that shows what a worker's build prints, from its beginning to its end, and lets the worker end when it has everything.
func Example() {
	c, err := client.Dial("127.0.0.1:7500", client.Options{Token: "the worker's token"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	claim, err := c.Claim(ctx, client.ClaimOptions{Holder: "example", Wait: true})
	if err != nil {
		log.Fatal(err)
	}
	defer claim.Close()
	last := uint64(0)
	for e, err := range c.Events(ctx, client.ReadOptions{Follow: true}) {
		if err != nil {
			log.Fatal(err) // or go on behind last
		}
		if last = e.Seq; e.Kind == journal.KindLog {
			fmt.Printf("%s: %s\n", e.Step, e.Line)
		}
	}
	if err := claim.Release(ctx, last); err != nil {
		log.Fatal(err)
	}
}
