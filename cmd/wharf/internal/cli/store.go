package cli

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"golang.org/x/net/netutil"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/local"
	"github.com/wharfci/wharf/provisioner/origin"
	"github.com/wharfci/wharf/worker/lease"
)

// storing is how builds are kept on this machine.
type storing struct {
	dir, listen string
	keep        time.Duration
}

// addTo adds its settings.
func (s *storing) addTo(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "store", "", "`directory` of the store that takes builds where there is no --wharf-api (default: in the state directory)")
	f.StringVar(&s.listen, "store-listen", "127.0.0.1:5011", "`address` of the store's API, by which everybody who reaches it can read all builds; empty is none")
	f.DurationVar(&s.keep, "store-keep", 30*24*time.Hour, "how long the store keeps builds that have ended; 0 is for ever")
}

// open opens the store.
func (s *storing) open(log hclog.Logger) (sink.Sink, error) {
	if s.keep < 0 {
		return nil, fmt.Errorf("--store-keep: must not be negative")
	}
	dir := s.dir
	if dir == "" {
		state, err := lease.Open("")
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(state.Path(), "store")
	}
	store, err := local.Open(dir, local.Options{Keep: s.keep, Log: log})
	if err != nil {
		return nil, fmt.Errorf("--store: %w", err)
	}
	log.Info("builds go to a store on this machine", "directory", dir)
	return store, nil
}

// mostReaders is how many connections may read at once; others wait.
const mostReaders = 200

// fromHere refuses requests to another name than this machine's: a page on the web can have a browser here ask under a name of its own, and read what comes.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !origin.OfThisMachine(r.Host) {
			http.Error(w, "this is reached as localhost only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve serves the store's API, if that is wanted.
func (s *storing) serve(store *local.Store, log hclog.Logger) (stop func(), err error) {
	if s.listen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("--store-listen: %w", err)
	}
	handler := store.Handler()
	if loopback(l.Addr().String()) {
		handler = fromHere(handler)
	} else {
		log.Warn("everybody who reaches this address can read all builds", "address", l.Addr().String())
	}
	log.Info("builds can be read", "address", l.Addr().String())
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	l = netutil.LimitListener(l, mostReaders)
	go func() { _ = srv.Serve(l) }()
	return func() { _ = srv.Close() }, nil
}
