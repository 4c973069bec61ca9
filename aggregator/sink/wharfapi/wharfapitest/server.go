// Package wharfapitest is a stand-in for wharf-api, for tests: it takes what that takes, at one port, as that does, and its faults can be had on demand. Like wharf-api it is not
// idempotent, and guards nothing: a state that comes late is the state.
package wharfapitest

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	wharfapiv5 "github.com/wharfci/wharf/api/wharfapi/v5"
)

// Options say how a stand-in behaves. The zero value is one without faults, that lets everybody in.
type Options struct {
	// Token is what has to be shown as bearer token with every call; empty is none.
	Token string
	// TLS is used for every connection, if it is not nil.
	TLS *tls.Config
	// Fault, if not nil, is asked at the beginning of each call that writes what is to go wrong with it. It may be called by many at once.
	Fault func(Call) Fault
	// Forget keeps how many lines there are, and not the lines.
	Forget bool
}

// The calls that write.
const (
	PutStatus  = "status"
	PutLines   = "lines"
	PutFile    = "artifact"
	PutResults = "test-result"
)

// Call is a call that writes.
type Call struct {
	Kind  string
	Build uint64 // 0 of a stream, which has not told yet
}

// Fault is what goes wrong with a call. The zero value is nothing.
type Fault struct {
	// Refuse answers with this HTTP status, or, of a stream, Unavailable, and stores nothing.
	Refuse int
	// Late is how long the answer comes after what was stored; of a stream it is the time after which what came last is stored, also if the stream has broken meanwhile.
	Late time.Duration
	// Lose stores all, and then cuts the connection in place of an answer; with Status it answers with that.
	Lose   bool
	Status int
	// CutAfter, of a stream, cuts the connection when so many lines were stored; 0 does not.
	CutAfter int
}

// Line is a line that is stored.
type Line struct {
	Time    time.Time
	Message string
}

// File is an artifact that is stored.
type File struct {
	Name        string
	Content     []byte
	TestResults bool
}

// Build is what there is of a build.
type Build struct {
	ID        uint64
	Status    string
	History   []string // the states that were set, the first included
	Changed   []time.Time
	Lines     []Line
	Count     int         // of lines
	Stored    []time.Time // when each was; empty with Forget
	Files     []File
	Scheduled time.Time
	Worker    string
	Engine    string // its ID; empty is none
}

// Server is a stand-in. Its methods may be called by many goroutines at once.
type Server struct {
	opts    Options
	address string

	mu     sync.Mutex
	moved  sync.Cond // something has changed
	builds map[uint64]*Build
	fault  func(Call) Fault
	calls  map[string]int
	up     *service // nil while it is down
}

// service is a stand-in that is up.
type service struct {
	listener net.Listener
	http     *http.Server
	grpc     *grpc.Server
	conns    *conns
}

// Start starts a stand-in at a port of its own. Close ends it.
func Start(opts Options) (*Server, error) {
	s := &Server{opts: opts, builds: map[uint64]*Build{}, fault: opts.Fault, calls: map[string]int{}, address: "127.0.0.1:0"}
	s.moved.L = &s.mu
	return s, s.Up()
}

// URL is where it is.
func (s *Server) URL() string {
	if s.opts.TLS != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// Up brings it up again, at the same port.
func (s *Server) Up() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = l.Addr().String()
	up := &service{listener: l, conns: &conns{all: map[string]net.Conn{}}}
	up.http = &http.Server{Handler: s.handler(up), ReadHeaderTimeout: time.Minute}
	up.grpc = grpc.NewServer(grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20), grpc.MaxRecvMsgSize(4<<20))
	wharfapiv5.RegisterBuildsServer(up.grpc, &lines{server: s, up: up})
	s.up = up
	up.serve(s.opts.TLS)
	return nil
}

// Down takes it down, as if it had crashed: every connection is cut, and what was stored stays.
func (s *Server) Down() {
	s.mu.Lock()
	up := s.up
	s.up = nil
	s.mu.Unlock()
	if up == nil {
		return
	}
	_ = up.listener.Close()
	up.conns.cut()
	_ = up.http.Close()
	up.grpc.Stop()
}

// Close ends it.
func (s *Server) Close() { s.Down() }

// SetFault changes what goes wrong; nil is nothing.
func (s *Server) SetFault(f func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// faulty returns what goes wrong with a call, and counts it.
func (s *Server) faulty(c Call) Fault {
	s.mu.Lock()
	s.calls[c.Kind]++
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return Fault{}
	}
	return f(c)
}

// Calls is how many calls of a kind there were.
func (s *Server) Calls(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[kind]
}

// Add adds a build, which is Scheduling.
func (s *Server) Add(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.builds[id] = &Build{ID: id, Status: "Scheduling", History: []string{"Scheduling"}, Changed: []time.Time{now}, Scheduled: now}
	s.moved.Broadcast()
}

// Change changes a build, if there is one.
func (s *Server) Change(id uint64, change func(*Build)) { s.update(id, change) }

// Build returns a copy of what there is of a build; its ID is 0 if there is none.
func (s *Server) Build(id uint64) Build {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copied(id)
}

// Count is how many lines there are of a build.
func (s *Server) Count(id uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.builds[id]; b != nil {
		return b.Count
	}
	return 0
}

func (s *Server) copied(id uint64) Build {
	b := s.builds[id]
	if b == nil {
		return Build{}
	}
	out := *b
	out.History, out.Changed, out.Lines, out.Files, out.Stored = slices.Clone(b.History), slices.Clone(b.Changed), slices.Clone(b.Lines), slices.Clone(b.Files), slices.Clone(b.Stored)
	return out
}

// Until waits until a build is as it should be, and returns it; give up says when it is not worth while any more, and may be nil.
func (s *Server) Until(id uint64, giveUp <-chan struct{}, is func(*Build) bool) (Build, bool) {
	over := false
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-giveUp:
			s.mu.Lock()
			over = true
			s.moved.Broadcast()
			s.mu.Unlock()
		case <-done:
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !over {
		if b := s.builds[id]; b != nil && is(b) {
			return s.copied(id), true
		}
		s.moved.Wait()
	}
	return s.copied(id), false
}

// update changes a build, if there is one.
func (s *Server) update(id uint64, f func(*Build)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.builds[id]
	if b == nil {
		return false
	}
	f(b)
	s.moved.Broadcast()
	return true
}
