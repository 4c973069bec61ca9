// Package wire is what the driver for Kubernetes and its helper say to each other: requests, answers, and frames on a stream. It
// needs the standard library only, because the helper, which is copied into every task, shall be small.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Version is said by both sides at the beginning; they must be the same.
const Version = 1

// Paths inside of a task's pod.
const (
	// Shared is the directory that every container has, and Program the helper in it.
	Shared  = "/.wharf"
	Program = Shared + "/helper"
	// Socket is where the containers' process 1 calls the keeper, until all have called.
	Socket = Shared + "/keeper"
	// Private is the keeper's own directory, with its log and the socket of the driver's calls.
	Private = "/.keeper"
	// Given is where the keeper finds the values of secrets, and Secrets where it puts the files.
	Given   = "/.given"
	Secrets = "/.secrets"
	// Volume is where a pod that copies files of a volume has it.
	Volume = "/volume"
)

// Plan is what the keeper has to do. It is in the environment of its container, in JSON.
type Plan struct {
	// Boxes are the containers in the order of their starts: init, then services, then the main one.
	Boxes   []Box    `json:",omitempty"`
	Secrets []Secret `json:",omitempty"`
}

// PlanVariable holds the plan.
const PlanVariable = "WHARF_PLAN"

// Kind is what a container is to its task.
type Kind string

// The kinds.
const (
	Init    Kind = "init"
	Service Kind = "service"
	Main    Kind = "main"
)

// Box is a container of the task.
type Box struct {
	Name  string
	Kind  Kind
	Ready Ready `json:",omitzero"`
}

// Ready is a service's check.
type Ready struct {
	TCP     int           `json:",omitempty"`
	Exec    []string      `json:",omitempty"`
	Timeout time.Duration `json:",omitempty"`
}

// Secret is a file to be made of the value in Given, under the same name in Secrets.
type Secret struct {
	File string
	Mode uint32
	UID  int
}

// Operations of a [Request].
const (
	OpStart   = "start"
	OpWait    = "wait"
	OpStop    = "stop"
	OpLogs    = "logs"
	OpStates  = "states" // a frame for each change of state
	OpState   = "state"
	OpDial    = "dial"
	OpStats   = "stats"
	OpExec    = "exec"
	OpCopyIn  = "copyin"
	OpCopyOut = "copyout"
	OpClear   = "clear" // of a volume: removes what is at a path
)

// Request is the first frame of a call.
type Request struct {
	Version int
	Op      string
	Box     string              `json:",omitempty"` // the container; empty is the main one
	Prefix  map[string][]string `json:",omitempty"` // of start: what stands before the arguments, by container
	Grace   time.Duration       `json:",omitempty"` // of stop
	From    int64               `json:",omitempty"` // of logs
	Follow  bool                `json:",omitempty"` // of logs
	Port    int                 `json:",omitempty"` // of dial
	Args    []string            `json:",omitempty"` // of exec
	Env     []string            `json:",omitempty"` // of exec
	Dir     string              `json:",omitempty"` // of exec
	User    string              `json:",omitempty"` // of exec
	Stdin   bool                `json:",omitempty"` // of exec
	Path    string              `json:",omitempty"` // of copies and of clear
}

// Answer is the last frame of a call: an error, or what was asked for.
type Answer struct {
	Class  string  `json:",omitempty"` // of the error; one of the constants below
	Error  string  `json:",omitempty"`
	Result *Result `json:",omitempty"` // of wait and exec
	State  State   `json:",omitempty"`
	Usage  *Usage  `json:",omitempty"`
}

// Classes of errors.
const (
	NotFound     = "not found"
	Invalid      = "invalid"
	Precondition = "precondition"
	Unavailable  = "unavailable"
	Exhausted    = "exhausted"
	Interrupted  = "interrupted" // the pod is being ended from outside
	Other        = "other"
)

// State is where the task stands.
type State string

// The states.
const (
	Created  State = "created"
	Starting State = "starting"
	Running  State = "running"
	Ended    State = "ended"
)

// Result is how the task, or a command, ended. Outcome has the words of the contract's outcomes.
type Result struct {
	Outcome        string
	Code, Signal   int       `json:",omitempty"`
	Container      string    `json:",omitempty"`
	Reason         string    `json:",omitempty"`
	Termed         bool      `json:",omitempty"` // the main container was sent a TERM from outside: it may be that the pod was being ended
	Started, Ended time.Time `json:",omitzero"`
}

// Usage is the sum over the containers that run.
type Usage struct {
	CPU          time.Duration
	Memory, PIDs int64
}

// Kinds of frames.
const (
	FrameRequest = 'R'
	FrameReady   = 'r' // the call was understood, and data follows
	FrameData    = 'd' // to the command or the port, or of a copy
	FrameEnd     = 'e' // no more FrameData from this side
	FrameOut     = 'o'
	FrameErr     = 'x'
	FrameLog     = 'L' // whole records
	FrameState   = 's'
	FrameAnswer  = 'Z'
)

// MaxFrame is the largest frame; both sides refuse a larger one.
const MaxFrame = 4 << 20

// Conn reads and writes frames. One goroutine may read while others write.
type Conn struct {
	r  io.Reader
	mu sync.Mutex
	w  io.Writer
	b  []byte
}

// New returns a Conn.
func New(r io.Reader, w io.Writer) *Conn { return &Conn{r: r, w: w} }

// Write writes one frame.
func (c *Conn) Write(kind byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b = append(c.b[:0], kind)
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(len(payload)))
	c.b = append(c.b, payload...)
	_, err := c.w.Write(c.b)
	return err
}

// WriteJSON writes a frame with v in JSON.
func (c *Conn) WriteJSON(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.Write(kind, b)
}

// Read reads the next frame.
func (c *Conn) Read() (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes: the helper and the driver do not understand each other", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return 0, nil, noEOF(err)
	}
	return head[0], payload, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Writer returns a writer of frames of that kind.
func (c *Conn) Writer(kind byte) io.Writer { return frameWriter{c, kind} }

type frameWriter struct {
	c    *Conn
	kind byte
}

func (w frameWriter) Write(p []byte) (int, error) {
	const most = 256 << 10
	n := 0
	for n < len(p) {
		piece := p[n:min(len(p), n+most)]
		if err := w.c.Write(w.kind, piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
