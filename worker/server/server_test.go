package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
	"github.com/wharfci/wharf/worker/server"
)

const token = "a-token"

// served is a build with its server.
type served struct {
	build  *worker.Build
	server *server.Server
	addr   string
	client *client.Client
	// next lets the program of the build go on, once for each value.
	next chan string
	// ended has the outcome.
	ended chan worker.Outcome
}

// large is the content of an artifact of several chunks.
var large = func() []byte {
	b := make([]byte, 300_000)
	_, _ = rand.Read(b)
	return b
}()

// serve begins a build of one step that prints what it is told to, and serves it.
func serve(t *testing.T) *served {
	t.Helper()
	s := &served{next: make(chan string), ended: make(chan worker.Outcome, 1)}
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(ctx context.Context, p *fake.Proc) int {
		w, err := p.Create("/workspace/out.bin", 0o644)
		if err != nil {
			return 1
		}
		_, _ = w.Write(large)
		_ = w.Close()
		for {
			select {
			case text, ok := <-s.next:
				if !ok {
					return 0
				}
				fmt.Fprintln(p.Stdout(), text)
			case <-ctx.Done():
				return 1
			}
		}
	}}})
	d := rt.Open("wharf")
	t.Cleanup(func() { _ = d.Close() })
	def, err := pipeline.Parse(".wharf-ci.yml", []byte("one:\n  step:\n    container: {image: img, cmds: [go], artifacts: [out.bin]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := def.Plan(pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := lease.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.build, err = worker.New(worker.Config{Driver: d, Plan: plan, State: state, Results: filepath.Join(t.TempDir(), "results"), Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.build.Open(); err != nil {
		t.Fatal(err)
	}
	s.server, err = server.New(server.Config{Build: s.build, Token: token, Version: "wharf test", Runtime: "fake"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	go func() { _ = s.server.Serve(l) }()
	go func() {
		out, err := s.build.Run(context.Background())
		if err != nil {
			t.Error(err)
		}
		s.ended <- out
	}()
	s.client = s.dial(t, token)
	t.Cleanup(func() {
		s.build.Cancel("the test is over")
		select {
		case out := <-s.ended:
			s.ended <- out
		case <-time.After(30 * time.Second):
			t.Error("the build does not end")
		}
		s.server.Close()
	})
	return s
}

func (s *served) dial(t *testing.T, token string) *client.Client {
	t.Helper()
	c, err := client.Dial(s.addr, client.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// finish lets the build end.
func (s *served) finish(t *testing.T) {
	t.Helper()
	close(s.next)
	out := <-s.ended
	s.ended <- out
	if out.State != worker.Succeeded {
		t.Fatalf("the build: %+v", out)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, got, err, want)
	}
}

// A client that follows from the beginning, and one that comes later and goes on behind some entry, are told what is stored.
func TestJournal(t *testing.T) {
	s := serve(t)
	lines := make(chan string)
	var live []journal.Event
	done := make(chan error, 1)
	go func() {
		for e, err := range s.client.Events(t.Context(), client.ReadOptions{Follow: true}) {
			if err != nil {
				done <- err
				return
			}
			e.Line = bytes.Clone(e.Line)
			live = append(live, e)
			if e.Kind == journal.KindLog {
				lines <- string(e.Line)
			}
		}
		done <- nil
	}()
	for i := range 20 {
		want := fmt.Sprint("line ", i)
		s.next <- want
		if got := <-lines; got != want {
			t.Fatalf("line %q came, want %q", got, want)
		}
	}
	b, err := s.client.Build(t.Context(), true)
	if err != nil || b.ID != s.build.ID() || b.State != journal.Running || len(b.Steps) != 1 || b.Steps[0].State != journal.Running || !bytes.Contains(b.Plan, []byte(`"stages"`)) || b.Runtime != "fake" {
		t.Errorf("the build that runs: %+v, %v", b, err)
	}
	s.finish(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var stored []journal.Event
	for e, err := range journal.Read(s.build.Results()) {
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, e)
	}
	if diff := cmp.Diff(stored, live); diff != "" {
		t.Errorf("told live (-stored +told):\n%s", diff)
	}
	for after := range stored {
		var got []journal.Event
		for e, err := range s.client.Events(t.Context(), client.ReadOptions{After: uint64(after), Follow: after%2 == 0}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(stored[after:], got); diff != "" {
			t.Fatalf("behind %d (-stored +told):\n%s", after, diff)
		}
	}
	for e, err := range s.client.Events(t.Context(), client.ReadOptions{Step: "one--step"}) {
		if err != nil || e.Step != "one--step" {
			t.Errorf("of one step: %+v, %v", e, err)
		}
	}
	states := slices.DeleteFunc(slices.Clone(stored), func(e journal.Event) bool { return e.Kind == journal.KindLog })
	var events []journal.Event
	for e, err := range s.client.Events(t.Context(), client.ReadOptions{WithoutLogs: true, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if diff := cmp.Diff(states, events); diff != "" {
		t.Errorf("without logs (-stored +told):\n%s", diff)
	}
	for _, err := range s.client.Events(t.Context(), client.ReadOptions{After: uint64(len(stored)) + 1, Follow: true}) {
		wantCode(t, "behind the end", err, codes.OutOfRange)
	}
	b, err = s.client.Build(t.Context(), false)
	if err != nil || b.State != journal.Succeeded || b.Last != uint64(len(stored)) || b.Plan != nil || b.Ended.IsZero() {
		t.Errorf("the build that has ended: %+v, %v", b, err)
	}
}

func TestArtifacts(t *testing.T) {
	s := serve(t)
	s.finish(t)
	all, err := s.client.Artifacts(t.Context())
	sum := sha256.Sum256(large)
	want := []client.Artifact{{Step: "one--step", Name: "out.bin", Size: int64(len(large)), SHA256: hex.EncodeToString(sum[:])}}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Fatalf("artifacts: %v\n%s", err, diff)
	}
	for _, offset := range []int64{0, 1, 65536, 200_000, int64(len(large))} {
		var got bytes.Buffer
		n, err := s.client.ReadArtifact(t.Context(), "one--step", "out.bin", offset, &got)
		if err != nil || n != int64(len(large))-offset || !bytes.Equal(got.Bytes(), large[offset:]) {
			t.Errorf("from %d: %d bytes, %v", offset, n, err)
		}
	}
	for _, c := range []struct {
		step, name string
		offset     int64
		want       codes.Code
	}{
		{"one--step", "out.bin", int64(len(large)) + 1, codes.OutOfRange},
		{"one--step", "out.bin", -1, codes.OutOfRange},
		{"one--step", "../../journal.jsonl", 0, codes.NotFound},
		{"../..", "journal.jsonl", 0, codes.NotFound},
		{"", "", 0, codes.NotFound},
	} {
		_, err := s.client.ReadArtifact(t.Context(), c.step, c.name, c.offset, io.Discard)
		wantCode(t, fmt.Sprint(c), err, c.want)
	}
}

func TestCancel(t *testing.T) {
	s := serve(t)
	s.next <- "it runs"
	if err := s.client.Cancel(t.Context(), "cancelled by a test", true); err != nil {
		t.Fatal(err)
	}
	out := <-s.ended
	s.ended <- out
	if out.State != worker.Cancelled || out.Reason != "cancelled by a test" {
		t.Errorf("outcome %+v", out)
	}
	if err := s.client.Cancel(t.Context(), "again", false); err != nil {
		t.Errorf("Cancel of a build that has ended: %v", err)
	}
}

func TestClaim(t *testing.T) {
	s := serve(t)
	first, err := s.client.Claim(t.Context(), client.ClaimOptions{Holder: "first"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client.Claim(t.Context(), client.ClaimOptions{Holder: "second"})
	wantCode(t, "a second claim", err, codes.FailedPrecondition)
	if err == nil || !strings.Contains(err.Error(), "first") {
		t.Errorf("it does not say who has it: %v", err)
	}
	waited := make(chan *client.Claim)
	go func() {
		second, err := s.client.Claim(t.Context(), client.ClaimOptions{Holder: "second", Wait: true})
		if err != nil {
			t.Error(err)
		}
		waited <- second
	}()
	wantCode(t, "Release before the end", first.Release(t.Context(), 1), codes.FailedPrecondition)
	if b, err := s.client.Build(t.Context(), false); err != nil || b.ClaimedBy != "first" {
		t.Errorf("claimed by %q, %v", b.ClaimedBy, err)
	}
	first.Close()
	second := <-waited
	defer second.Close()
	if second.Fence <= first.Fence {
		t.Errorf("the fence went from %d to %d", first.Fence, second.Fence)
	}
	s.finish(t)
	last := s.build.Journal().Last()
	wantCode(t, "Release by the one that had the claim", first.Release(t.Context(), last), codes.FailedPrecondition)
	wantCode(t, "Release of less than everything", second.Release(t.Context(), last-1), codes.FailedPrecondition)
	if err := second.Release(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	<-s.server.Released()
	<-second.Lost()

	again, err := server.New(server.Config{Build: s.build, Token: token}) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = again.Serve(l) }()
	third, err := (&served{addr: l.Addr().String()}).dial(t, token).Claim(t.Context(), client.ClaimOptions{Holder: "third"})
	if err != nil || third.Fence <= second.Fence {
		t.Fatalf("after a restart: %+v, %v", third, err)
	}
	third.Close()
}

// The claim of a holder that is cut off is nobody's before its lease is over; one that is given back is free at once, and goes to the one who is named.
func TestLease(t *testing.T) {
	s := serve(t)
	contests := make(chan client.Contest, 100)
	first, err := s.client.Claim(t.Context(), client.ClaimOptions{Holder: "first", Told: func(c client.Contest) { contests <- c }})
	if err != nil {
		t.Fatal(err)
	}
	if !first.Clean {
		t.Error("the first claim is not clean")
	}
	if until := first.Until(); !until.IsZero() {
		t.Errorf("without a lease it lasts until %v", until)
	}
	lasts := func(c *client.Claim) bool { return time.Now().Before(c.Until()) }
	if err := first.Lease(t.Context()); err != nil || !lasts(first) {
		t.Fatalf("the lease lasts until %v, %v", first.Until(), err)
	}
	type result struct {
		claim *client.Claim
		err   error
	}
	ask := func(name string) chan result {
		got := make(chan result, 1)
		c := s.dial(t, token) // each with its own connection
		go func() {
			claim, err := c.Claim(t.Context(), client.ClaimOptions{Holder: name, Wait: true})
			got <- result{claim, err}
		}()
		for c := range contests {
			if slices.Contains(c.Waiting, name) {
				break
			}
		}
		return got
	}
	second, third := ask("second"), ask("third")
	first.Taken(2, true)
	first.Pass("third")
	r := <-third
	if r.err != nil || !r.claim.Clean {
		t.Fatalf("after it was passed on: %+v, %v", r.claim, r.err)
	}
	if b, err := s.client.Build(t.Context(), false); err != nil || b.Taken != 2 || b.ClaimedBy != "third" {
		t.Errorf("claimed by %q, taken %d, %v", b.ClaimedBy, b.Taken, err)
	}
	if err := r.claim.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.claim.Abandon()
	if !lasts(r.claim) {
		t.Error("the lease ends before its time")
	}
	_, err = s.client.Claim(t.Context(), client.ClaimOptions{Holder: "fourth"})
	wantCode(t, "a claim under a lease", err, codes.FailedPrecondition)
	r2 := <-second
	if r2.err != nil || r2.claim.Clean || lasts(r.claim) {
		t.Errorf("after the holder was cut off: clean %v, its lease lasts %v, %v", r2.claim.Clean, lasts(r.claim), r2.err)
	}
	if err := r2.claim.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	r2.claim.Abandon() // its connection is lost: whoever had the claim need not wait for its own lease
	again, err := s.client.Claim(t.Context(), client.ClaimOptions{Holder: "second", Fence: r2.claim.Fence})
	if err != nil || again.Clean {
		t.Fatalf("by who had it: %+v, %v", again, err)
	}
	again.Abandon()
	_, err = s.client.Claim(t.Context(), client.ClaimOptions{Holder: "second", Fence: r2.claim.Fence, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
}

func TestToken(t *testing.T) {
	s := serve(t)
	for _, wrong := range []string{"", "b-token", token + "x"} {
		c := s.dial(t, wrong)
		_, err := c.Build(t.Context(), false)
		wantCode(t, "GetBuild with the token "+wrong, err, codes.Unauthenticated)
		for _, err := range c.Events(t.Context(), client.ReadOptions{}) {
			wantCode(t, "ReadJournal with the token "+wrong, err, codes.Unauthenticated)
		}
		wantCode(t, "Cancel with the token "+wrong, c.Cancel(t.Context(), "", true), codes.Unauthenticated)
	}
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "wharf.worker.v1.WorkerService"})
	if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	watch, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	wantCode(t, "Watch of the health service without a token", err, codes.Unauthenticated)
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err == nil {
		_ = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		_, err = stream.Recv()
	}
	wantCode(t, "reflection without a token", err, codes.Unauthenticated)
}

// A worker that ends before its build has does not tell anybody that this is the end.
func TestEndWithoutTheBuilds(t *testing.T) {
	s, addr := store(t)
	s.write(10)
	c := (&served{addr: addr}).dial(t, token)
	claim, err := c.Claim(t.Context(), client.ClaimOptions{Holder: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	if err := s.writer.Abandon(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range c.Events(t.Context(), client.ReadOptions{Follow: true}) {
		if err == nil {
			n++
			continue
		}
		wantCode(t, "the end", err, codes.Unavailable)
		n += 100
	}
	if n != 110 {
		t.Errorf("%d lines and errors", n)
	}
	wantCode(t, "Release", claim.Release(t.Context(), 10), codes.FailedPrecondition)
}

// What is no request of the API is refused, and the server goes on.
func TestGarbage(t *testing.T) {
	s := serve(t)
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00\xff", 10_000), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x7f", 1000)} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	wantCode(t, "a large request", s.client.Cancel(t.Context(), strings.Repeat("x", 1<<20), false), codes.ResourceExhausted)
	wantCode(t, "a long reason", s.client.Cancel(t.Context(), strings.Repeat("x", 2000), false), codes.InvalidArgument)
	_, err := s.client.Claim(t.Context(), client.ClaimOptions{Holder: ""})
	wantCode(t, "a claim without a holder", err, codes.InvalidArgument)
	if _, err := s.client.Build(t.Context(), false); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Connections that say nothing keep nobody out, and do not stay; one that has shown the token does.
func TestSilentConnections(t *testing.T) {
	s := serve(t)
	c := s.dial(t, token)
	claim, err := c.Claim(t.Context(), client.ClaimOptions{Holder: "first"})
	if err != nil {
		t.Fatal(err)
	}
	const many = 1000
	closed := make(chan int, many)
	for i := range many {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = io.Copy(io.Discard, conn) // the server speaks first, and then says nothing more
			closed <- i
		}()
	}
	late := s.dial(t, token)
	if _, err := late.Build(t.Context(), false); err != nil {
		t.Error(err)
	}
	for range many - 300 {
		<-closed
	}
	select {
	case <-claim.Lost():
		t.Error("a client that has the claim was closed")
	default:
	}
	claim.Close()
}

// A client that stops reading costs less than 1 MiB, both sides counted.
func TestStoppedReaders(t *testing.T) {
	s, addr := store(t)
	s.write(300_000)
	const clients = 20
	before := heap()
	for range clients {
		// With windows of the least size, so that what a client itself takes in is not counted.
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		stream, err := workerv1.NewWorkerServiceClient(conn).ReadJournal(ctx, &workerv1.ReadJournalRequest{Follow: true})
		if err == nil {
			_, err = stream.Recv() // and no more
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / clients; each > 1<<20 {
		t.Errorf("each costs %d bytes", each)
	}
	if got := s.writer.Last(); got != 300_000 {
		t.Errorf("%d lines are there", got)
	}
}

// heap is the memory that is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestHandler(t *testing.T) {
	s := serve(t)
	s.next <- "a line"
	s.finish(t)
	for range s.client.Events(t.Context(), client.ReadOptions{Follow: true}) {
	}
	web := httptest.NewServer(s.server.Handler())
	defer web.Close()
	get := func(path string, want int) string {
		resp, err := http.Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want {
			t.Errorf("%s: %s, %s", path, resp.Status, text)
		}
		return string(text)
	}
	get("/healthz", 200)
	get("/readyz", 200)
	get("/else", 404)
	text := get("/metrics", 200)
	for _, want := range []string{
		`wharf_worker_steps_total{state="succeeded"} 1`, `wharf_worker_steps_running 0`, `wharf_worker_log_lines_total{stream="stdout"} 1`,
		`wharf_worker_build_state{state="succeeded"} 1`, `wharf_worker_journal_lag_entries 0`, `wharf_worker_step_phase_seconds_count{phase="queue"} 1`,
		`wharf_worker_step_phase_seconds_count{phase="run"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
