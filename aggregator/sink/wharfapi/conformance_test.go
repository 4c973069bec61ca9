package wharfapi_test

import (
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/sinktest"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// The sink keeps the contract, on a wharf-api without faults.
func TestConformance(t *testing.T) {
	api, err := wharfapitest.Start(wharfapitest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	sinktest.Run(t, sinktest.Config{
		Open: func() (sink.Sink, error) {
			return wharfapi.New(api.URL(), wharfapi.Options{Timeout: 20 * time.Second, Settle: 500 * time.Millisecond})
		},
		Add:  api.Add,
		Read: func(id uint64) (sinktest.Build, error) { return stored(api.Build(id)), nil },
		Stall: func() func() {
			stalled := make(chan struct{})
			api.SetFault(func(wharfapitest.Call) wharfapitest.Fault {
				<-stalled
				return wharfapitest.Fault{}
			})
			return func() {
				api.SetFault(nil)
				close(stalled)
			}
		},
	})
}

func stored(b wharfapitest.Build) sinktest.Build {
	out := sinktest.Build{Status: sink.Status(b.Status)}
	for _, s := range b.History {
		out.History = append(out.History, sink.Status(s))
	}
	for _, l := range b.Lines {
		out.Lines = append(out.Lines, sink.Line{Time: l.Time, Text: []byte(l.Message)})
	}
	for _, f := range b.Files {
		out.Files = append(out.Files, sinktest.File{Name: f.Name, Content: f.Content})
	}
	return out
}
