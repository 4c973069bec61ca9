// Package served makes a build that this process runs reachable for others: those of the same user on this machine through a socket in the results directory,
// and, where it is wanted, by TCP.
package served

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/wharfci/wharf/worker/server"
)

// endpointName is the file in the results directory that says how the process that runs the build is reached. Only its user can read it.
const endpointName = "worker.json"

// Endpoint is how a build is reached.
type Endpoint struct {
	// Address is "unix:///path", for the same machine.
	Address string `json:"address"`
	// Token is what the server wants to be shown.
	Token string `json:"token"`
	// PID is the process that serves, for people.
	PID int `json:"pid"`
	// Listens is the address of TCP, if there is one, and HTTP that of /metrics.
	Listens string `json:"listens,omitempty"`
	HTTP    string `json:"http,omitempty"`
}

// ErrDamaged is matched by the error of a file that does not say how a build is reached.
var ErrDamaged = errors.New("it does not say how the build is reached")

// Read returns how the build whose results are in a directory is reached, or an error that matches [fs.ErrNotExist] if no
// process serves it. One that was killed may have left the file: then nothing answers.
func Read(dir string) (Endpoint, error) {
	var e Endpoint
	path := filepath.Join(dir, endpointName)
	text, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil || !strings.HasPrefix(e.Address, "unix://") {
		return e, fmt.Errorf("%s: %w", path, ErrDamaged)
	}
	return e, nil
}

// Options say how a build is served.
type Options struct {
	// Listen is the address of TCP, "host:port", and HTTP that of /healthz, /readyz and /metrics; empty is none.
	Listen, HTTP string
	// Token is what clients have to show; empty makes one.
	Token string
	// TLS, if not nil, is used for TCP.
	TLS *tls.Config
	// Version and Runtime are for people.
	Version, Runtime string
}

// Serving is a build that is being served.
type Serving struct {
	Endpoint
	server *server.Server
	http   *http.Server
	dir    string
	socket string // a directory made for it
	errs   chan error
}

// Start begins to serve a build that has been opened.
func Start(b server.Build, opts Options) (_ *Serving, err error) {
	s := &Serving{dir: b.Results(), Endpoint: Endpoint{Token: opts.Token, PID: os.Getpid()}, errs: make(chan error, 3)}
	before, _ := Read(s.dir) // of a process that was killed: its clients find the next one where they found it
	if s.Token == "" {
		s.Token = cmp.Or(before.Token, rand.Text())
	}
	s.server, err = server.New(server.Config{Build: b, Token: s.Token, Version: opts.Version, Runtime: opts.Runtime})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	local, err := s.listenLocal()
	if err != nil {
		return nil, err
	}
	s.Address = "unix://" + local.Addr().String()
	go func() { s.errs <- s.server.Serve(local) }()
	if opts.Listen != "" {
		if err := s.listen(opts, before.Listens); err != nil {
			return nil, err
		}
	}
	if opts.HTTP != "" {
		if err := s.listenHTTP(opts); err != nil {
			return nil, err
		}
	}
	return s, s.write()
}

// listenLocal listens on a socket in the results directory, or, where its path would be too long for one, in a directory of its own.
func (s *Serving) listenLocal() (net.Listener, error) {
	path := filepath.Join(s.dir, "worker.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return nil, err
	}
	if len(path) > 100 {
		dir, err := os.MkdirTemp("", "wharf-")
		if err != nil {
			return nil, err
		}
		s.socket, path = dir, filepath.Join(dir, "worker.sock")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// listen listens on TCP, where any port will do on the one that an earlier process had, if it is free. The server of the socket is the one of TCP too: whoever knows the
// token may connect to either.
func (s *Serving) listen(opts Options, before string) error {
	var l net.Listener
	var err error
	if host, port, _ := net.SplitHostPort(before); port != "" && opts.Listen == net.JoinHostPort(host, "0") {
		l, _ = net.Listen("tcp", before)
	}
	if l == nil {
		if l, err = net.Listen("tcp", opts.Listen); err != nil {
			return err
		}
	}
	s.Listens = l.Addr().String()
	if opts.TLS != nil {
		secure := opts.TLS.Clone()
		secure.NextProtos = []string{"h2"}
		l = tls.NewListener(l, secure)
	}
	go func() { s.errs <- s.server.Serve(l) }()
	return nil
}

// mostHTTP is how many connections /metrics and its like answer at once; others wait until one ends, which those that say nothing do soon.
const mostHTTP = 100

func (s *Serving) listenHTTP(opts Options) error {
	l, err := net.Listen("tcp", opts.HTTP)
	if err != nil {
		return err
	}
	s.HTTP = l.Addr().String()
	l = netutil.LimitListener(l, mostHTTP)
	s.http = &http.Server{Handler: s.server.Handler(), ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.errs <- err
		}
	}()
	return nil
}

// write says where the build is reached.
func (s *Serving) write() error {
	text, err := json.MarshalIndent(s.Endpoint, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.dir, endpointName+".new")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, endpointName))
}

// Released is closed when a client has said that everything was taken.
func (s *Serving) Released() <-chan struct{} { return s.server.Released() }

// Claimed reports whether somebody relays the build.
func (s *Serving) Claimed() bool { return s.server.Claimed() }

// Close ends the server and takes away what says where it is.
func (s *Serving) Close() {
	_ = os.Remove(filepath.Join(s.dir, endpointName))
	if s.http != nil {
		_ = s.http.Close()
	}
	if s.server != nil {
		s.server.Close()
	}
	if s.socket != "" {
		_ = os.RemoveAll(s.socket)
	}
}

// Describe says where the build is reached, for a person.
func (e Endpoint) Describe() string {
	if e.Listens == "" {
		return e.Address
	}
	return fmt.Sprintf("%s, %s", e.Listens, e.Address)
}
