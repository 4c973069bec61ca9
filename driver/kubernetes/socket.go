package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/kubernetes/scheme"
	clientsocket "k8s.io/client-go/transport/websocket"
	"k8s.io/streaming/pkg/httpstream"
)

// socket is a command that pods/exec runs, over a WebSocket: what is read is its standard output, what is written its standard input. It is read
// as fast as its reader reads, and has nothing that outlives it, which client-go's executor has.
type socket struct {
	ctx   context.Context
	conn  *websocket.Conn
	rest  io.Reader // of the message of standard output that is being read
	said  limited   // on standard error
	err   error     // of Read, for ever
	once  sync.Once
	stop  func() bool
	ended chan struct{} // closed when no ping will be sent any more
	end   chan struct{}
}

// Channels: the first byte of each message. Those of other numbers say nothing that is needed here.
const (
	channelIn = iota
	channelOut
	channelErr
	channelStatus
)

// Pings keep a connection alive on which nothing is said, and show when it is not: silence is how long nothing may come, not even an answer to a ping.
const (
	pingEvery = 10 * time.Second
	silence   = time.Minute
)

// open runs the command in a pod's keeper. The end of ctx, or close, ends the connection.
func (d *Driver) open(ctx context.Context, pod string, command []string) (*socket, error) {
	target := d.api.CoreV1().RESTClient().Get().Resource("pods").Name(pod).Namespace(d.namespace).SubResource("exec").
		VersionedParams(&core.PodExecOptions{Container: keeper, Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	trip, holder, err := clientsocket.RoundTripperFor(d.rest)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	conn, err := clientsocket.Negotiate(trip, holder, req, remotecommand.StreamProtocolV5Name, remotecommand.StreamProtocolV4Name)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if no := new(httpstream.UpgradeFailureError); errors.As(err, &no) && !refused(refusal(err)) {
			return nil, &nodeError{brokenCall(refusal(err), "")}
		}
		return nil, brokenCall(refusal(err), "")
	}
	s := &socket{ctx: ctx, conn: conn, ended: make(chan struct{}), end: make(chan struct{})}
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	conn.SetPongHandler(func(string) error { return s.heard() })
	go s.ping()
	return s, nil
}

// nodeError says that the API server has answered, and that the kubelet cannot be reached, or does not know the pod, as when it has just started.
type nodeError struct{ error }

func (e *nodeError) Unwrap() error { return e.error }

// refusal is what the API server means when it does not open a connection: that there is no such pod, or that the driver may not. All else, such as
// that the pod has just ended, may be another thing when it is asked again.
func refusal(err error) error {
	var no *httpstream.UpgradeFailureError
	if errors.As(err, &no) && (apierrors.IsNotFound(no.Cause) || apierrors.IsForbidden(no.Cause) || apierrors.IsUnauthorized(no.Cause)) {
		return no.Cause
	}
	return err
}

func (s *socket) heard() error { return s.conn.SetReadDeadline(time.Now().Add(silence)) }

func (s *socket) ping() {
	defer close(s.ended)
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(silence)) // whoever reads sees what is wrong
		case <-s.end:
			return
		}
	}
}

// Read reads standard output. Its errors say why there is no more; the command's end is one of them.
func (s *socket) Read(p []byte) (n int, err error) {
	for s.err == nil {
		_ = s.heard()
		if s.rest == nil {
			s.err = s.next()
			continue
		}
		n, err := s.rest.Read(p)
		if err != nil {
			s.rest = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			s.err = s.why(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, s.err
}

// next takes the next message.
func (s *socket) next() error {
	_, r, err := s.conn.NextReader()
	if err != nil {
		var end *websocket.CloseError
		if errors.As(err, &end) && end.Code == websocket.CloseNormalClosure {
			err = nil
		}
		return s.why(err)
	}
	var channel [1]byte
	if _, err := io.ReadFull(r, channel[:]); err != nil {
		return s.why(err)
	}
	switch channel[0] {
	case channelOut:
		s.rest = r
	case channelErr:
		_, err = io.Copy(&s.said, r)
	case channelStatus:
		var status meta.Status
		if err := json.NewDecoder(r).Decode(&status); err != nil {
			return s.why(err)
		}
		if status.Status == meta.StatusSuccess {
			return nil // what it has printed may come behind; the server closes the connection when there is no more
		}
		return s.why(errors.New(status.Message))
	}
	if err != nil {
		return s.why(err)
	}
	return nil
}

// why is the error of a connection that has ended: the end of the context goes before what it did to the connection.
func (s *socket) why(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return brokenCall(err, s.said.String())
}

// Write writes to standard input. One goroutine may write while another reads.
func (s *socket) Write(p []byte) (n int, err error) {
	const most = 32 << 10
	for n < len(p) {
		piece := p[n:min(len(p), n+most)]
		w, err := s.conn.NextWriter(websocket.BinaryMessage)
		if err == nil {
			_, err = w.Write([]byte{channelIn})
		}
		if err == nil {
			_, err = w.Write(piece)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return n, s.why(err)
		}
		n += len(piece)
	}
	return n, nil
}

// close ends the connection, and with it the command.
func (s *socket) close() {
	s.once.Do(func() {
		s.stop()
		s.conn.Close()
		close(s.end)
		<-s.ended
	})
}
