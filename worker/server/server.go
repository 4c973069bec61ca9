package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/journal"
)

// Build is what is served; a [github.com/wharfci/wharf/worker.Build] that has been opened is one.
type Build interface {
	// ID names the build.
	ID() string
	// Results is the results directory.
	Results() string
	// Journal is what writes it.
	Journal() *journal.Writer
	// Stop stops the build gracefully, or by force. A second call without force does nothing.
	Stop(reason string, force bool)
}

// Config is what a server needs. Build and Token are required.
type Config struct {
	Build Build
	// Token is what clients have to show.
	Token string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Version and Runtime say what the worker is, for people.
	Version, Runtime string
}

// Bounds of what a client may do. Requests are small.
const (
	maxRequest  = 64 << 10
	maxHeaders  = 16 << 10
	maxStreams  = 100
	handshake   = 10 * time.Second
	pingEvery   = 2 * time.Second // of a client that says nothing,
	pingBound   = 3 * time.Second // and how long its answer may take, before it is taken for gone
	bufferBytes = 16 << 10
	idleBound   = 10 * time.Minute // of a connection without a call
)

// Server serves one build.
type Server struct {
	cfg    Config
	grpc   *grpc.Server
	health *health.Server
	view   *view
	claim  *claim
	guests guests

	released chan struct{}
	release  sync.Once
	stop     context.CancelFunc
	done     chan struct{}
}

// New returns a server that does not listen yet. It follows the journal until Close.
func New(cfg Config) (*Server, error) {
	if cfg.Build == nil || cfg.Build.Journal() == nil {
		return nil, errors.New("server: Config needs a Build that has been opened")
	}
	if cfg.Token == "" {
		return nil, errors.New("server: Config needs a Token: whoever can connect could cancel the build")
	}
	claim, err := openClaim(cfg.Build.Results())
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, health: health.NewServer(), view: newView(cfg.Build.Journal()), claim: claim, released: make(chan struct{}), done: make(chan struct{})}
	if _, err := os.Stat(filepath.Join(cfg.Build.Results(), releasedName)); err == nil && cfg.Build.Journal().Closed() {
		s.release.Do(func() { close(s.released) })
	}
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshake),
		grpc.ReadBufferSize(4 << 10), grpc.WriteBufferSize(bufferBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingBound, MaxConnectionIdle: idleBound}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// Before there is a stream: who has no token costs no memory.
		grpc.InTapHandle(func(ctx context.Context, call *tap.Info) (context.Context, error) {
			return ctx, s.allowed(ctx, call)
		}),
	}
	secure := insecure.NewCredentials()
	if cfg.TLS != nil {
		secure = credentials.NewTLS(cfg.TLS)
	}
	s.grpc = grpc.NewServer(append(opts, grpc.Creds(introduced{secure}))...)
	workerv1.RegisterWorkerServiceServer(s.grpc, &service{server: s})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(workerv1.WorkerService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	reflection.Register(s.grpc)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() {
		defer close(s.done)
		s.view.follow(ctx, cfg.Build)
	}()
	return s, nil
}

// allowed checks the token of a call. The comparison takes the same time whatever is wrong.
func (s *Server) allowed(ctx context.Context, call *tap.Info) error {
	if call.FullMethodName == healthv1.Health_Check_FullMethodName {
		return nil
	}
	want := sha256.Sum256([]byte("Bearer " + s.cfg.Token))
	for _, given := range call.Header.Get("authorization") {
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			welcome(ctx)
			return nil
		}
	}
	return status.Error(codes.Unauthenticated, "the token is missing or wrong: send the worker's as \"authorization: Bearer TOKEN\"")
}

// welcome says that the connection of a call has shown the token.
func welcome(ctx context.Context) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return
	}
	if v, ok := p.AuthInfo.(visitor); ok && v.guest != nil {
		v.guest.welcome()
	}
}

// Serve answers the connections of a listener, which it closes in the end. It may be called for several listeners, and returns nil after Close.
func (s *Server) Serve(l net.Listener) error {
	return s.grpc.Serve(&door{Listener: l, guests: &s.guests})
}

// Released is closed when a client has said that everything was taken.
func (s *Server) Released() <-chan struct{} { return s.released }

// Claimed reports whether a client has the claim, or had it until a moment ago.
func (s *Server) Claimed() bool {
	by, _ := s.claim.standing()
	return by != ""
}

// Close ends the server: calls that run have a second to end by themselves, as those that follow a build do that has ended.
func (s *Server) Close() {
	s.health.Shutdown()
	s.guests.leave()
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-stopped:
	case <-t.C:
		s.grpc.Stop()
		<-stopped
	}
	s.stop()
	<-s.done
}
