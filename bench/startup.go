package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
)

// startUp measures how long "wharf run" itself needs until it asks for its first container: from the start of the process to
// the request, less the time in which the daemon had a request to answer.
func (b *bench) startUp(ctx context.Context) (sample, error) {
	project, err := b.project("start-up", sequence(1, "true"))
	if err != nil {
		return sample{}, err
	}
	p, err := listenProxy(b.dir)
	if err != nil {
		return sample{}, err
	}
	defer p.server.Close()
	results := filepath.Join(b.dir, "start-up.results")
	if err := os.RemoveAll(results); err != nil {
		return sample{}, err
	}
	begin := time.Now()
	s, err := b.runWharf(ctx, []string{"run", project, "--driver=docker", "--output=plain", "--results=" + results},
		[]string{"DOCKER_HOST=unix://" + p.socket})
	if err != nil {
		return sample{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.wall = p.firstCreate.Sub(begin) - p.busyUntilCreate
	return s, nil
}

// proxy stands between a client and the daemon and keeps the time.
type proxy struct {
	socket string
	server *http.Server

	mu              sync.Mutex
	inFlight        int
	busySince       time.Time     // when inFlight became more than 0
	busy            time.Duration // with at least one request under way, up to busySince
	firstCreate     time.Time
	busyUntilCreate time.Duration
}

func listenProxy(dir string) (*proxy, error) {
	p := &proxy{socket: filepath.Join(dir, "proxy.sock")}
	os.Remove(p.socket)
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		return nil, err
	}
	network, address := daemonAddress()
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	forward.FlushInterval = -1
	forward.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.enter(r)
		defer p.leave()
		forward.ServeHTTP(w, r)
	})}
	go p.server.Serve(l)
	return p, nil
}

func daemonAddress() (network, address string) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = client.DefaultDockerHost
	}
	network, address, _ = strings.Cut(host, "://")
	return network, address
}

func (p *proxy) enter(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.firstCreate.IsZero() && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/containers/create") {
		p.firstCreate, p.busyUntilCreate = now, p.busy
		if p.inFlight > 0 {
			p.busyUntilCreate += now.Sub(p.busySince)
		}
	}
	if p.inFlight++; p.inFlight == 1 {
		p.busySince = now
	}
}

func (p *proxy) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight--; p.inFlight == 0 {
		p.busy += time.Since(p.busySince)
	}
}
