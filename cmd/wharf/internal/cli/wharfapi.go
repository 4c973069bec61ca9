package cli

import (
	"errors"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
)

// wharfAPI is where wharf-api is.
type wharfAPI struct{ url string }

func (w *wharfAPI) addTo(f *pflag.FlagSet) {
	f.StringVar(&w.url, "wharf-api", "", "`URL` of wharf-api (required)")
}

func (w *wharfAPI) validate() error {
	if w.url == "" {
		return errors.New("--wharf-api is missing")
	}
	return nil
}

func (w *wharfAPI) open(hclog.Logger) (sink.Sink, error) {
	return wharfapi.New(w.url, wharfapi.Options{})
}
