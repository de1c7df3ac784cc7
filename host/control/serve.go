package control

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// askWithin bounds how long a client may take to prove its key and to ask.
const askWithin = 10 * time.Second

// An Access says what a client of a connection has to prove.
type Access struct {
	// Trusted says that the client is the user whose node it is. It proves nothing.
	Trusted bool

	Owner Owner // whose key the client has to prove otherwise; nil: nobody's is accepted

	// Binding is the same at both ends of the connection, and differs for all others:
	// the keys of both nodes.
	Binding []byte

	Proven func() // called when the client has proven its key; may be nil
}

// maxProof bounds a frame of a client that has not proven its key yet, in bytes. Every
// node of the network can be such a client.
const maxProof = 1 << 10

// A challenge is the first frame of a supervisor.
type challenge struct {
	Nonce []byte `json:"nonce,omitempty"` // empty: nothing is to be proven
}

// A proof answers a challenge.
type proof struct {
	Owner     []byte `json:"owner"`
	Signature []byte `json:"signature"`
}

var (
	errNoOwner = errors.New("this node takes no orders over the network: " +
		"run it by boxer run --on, or with --owner KEY, which boxer owner prints")
	errNotOwner = errors.New("this node belongs to somebody else: its owner's key is needed " +
		"(see boxer owner --help)")
)

// Serve serves the one request of a connection, and closes it. It returns when all is
// done, or ctx ends.
func Serve(ctx context.Context, conn io.ReadWriteCloser, n Node, a Access) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := &serving{Node: n, r: host.NewReader(conn), w: host.NewWriter(conn)}
	late := time.AfterFunc(askWithin, func() { conn.Close() })
	defer late.Stop() // a client whose request fails may not read why
	q, err := s.ask(a)
	var result host.Result
	if err == nil {
		late.Stop()
		result, err = s.do(ctx, cancel, q)
	}
	if err != nil {
		result = host.Result{Code: exitBoxer, Error: err.Error()}
	}
	if e := s.w.WriteJSON(host.Exit, result); e != nil {
		return errors.Join(err, e)
	}
	s.awaitEnd()
	return err
}

// endWithin bounds how long a client may take to close the connection when it has the
// result. If this side closed the connection at once, the node might leave the network
// before the result has arrived.
const endWithin = 2 * time.Second

// awaitEnd waits until the client has closed the connection.
func (s *serving) awaitEnd() {
	if s.gone == nil {
		s.read(func() {}, nil)
	}
	select {
	case <-s.gone:
	case <-time.After(endWithin):
	}
}

// A serving is one connection.
type serving struct {
	Node
	r *host.Reader
	w *host.Writer

	gone chan struct{} // closed when read has read the last frame; nil: it was not called
}

// ask has the client prove who it is, and reads its request.
func (s *serving) ask(a Access) (q request, err error) {
	if a.Trusted {
		err = s.w.WriteJSON(host.Challenge, challenge{})
	} else {
		s.r.Limit(maxProof)
		err = s.challenge(a)
	}
	if err != nil {
		return q, err
	}
	if a.Proven != nil {
		a.Proven()
	}
	s.r.Limit(host.MaxFrame)
	return q, readJSON(s.r, host.Request, &q)
}

// challenge has the client prove that it has the owner's key.
func (s *serving) challenge(a Access) error {
	if a.Owner == nil {
		return errNoOwner // no proof helps
	}
	c := challenge{Nonce: make([]byte, 32)}
	if _, err := rand.Read(c.Nonce); err != nil {
		return err
	}
	if err := s.w.WriteJSON(host.Challenge, c); err != nil {
		return err
	}
	var p proof
	if err := readJSON(s.r, host.Proof, &p); err != nil {
		return err
	}
	if !a.Owner.Equal(ed25519.PublicKey(p.Owner)) ||
		!ed25519.Verify(a.Owner, signed(c.Nonce, a.Binding), p.Signature) {
		return errNotOwner
	}
	return nil
}

// readJSON reads a frame of a kind.
func readJSON(r *host.Reader, want host.Kind, v any) error {
	kind, b, err := r.Read()
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if kind == host.Exit { // the other side has failed
		var result host.Result
		if json.Unmarshal(b, &result) == nil && result.Error != "" {
			return errors.New(result.Error)
		}
	}
	if kind != want {
		return fmt.Errorf("control: a frame %q, want %q", kind, want)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("control: frame %q: %w", kind, err)
	}
	return nil
}

// do does what a request asks for. leave is called when the client has gone.
func (s *serving) do(ctx context.Context, leave func(), q request) (host.Result, error) {
	switch q.Do {
	case doDescribe:
		return host.Result{}, s.w.WriteJSON(host.Event, s.Describe())
	case doSignal:
		return host.Result{}, s.Signal(q.Signal)
	case doList:
		return host.Result{}, s.SetListed(ctx, q.Listed)
	case doExec:
		if q.Command == nil || len(q.Command.Argv) == 0 {
			return host.Result{}, errors.New("control: exec without a command")
		}
		return s.exec(ctx, *q.Command)
	case doStop:
		s.read(leave, nil)
		return s.stop(ctx, time.Duration(q.Grace))
	case doLogs:
		return s.logs(ctx, leave, q)
	}
	return host.Result{}, fmt.Errorf("control: %q is unknown: use the same release of boxer on both sides", q.Do)
}

// read reads frames, on a goroutine of its own, until the client has gone. It then calls
// leave. frame is called for each, and may be nil.
func (s *serving) read(leave func(), frame func(host.Kind, []byte)) {
	s.gone = make(chan struct{})
	go func() { // ends with the connection, which Serve closes
		defer close(s.gone)
		defer leave()
		for {
			kind, b, err := s.r.Read()
			if err != nil {
				return
			}
			if frame != nil {
				frame(kind, b)
			}
		}
	}()
}

// stop ends the program: by SIGTERM, and by SIGKILL after the grace.
func (s *serving) stop(ctx context.Context, grace time.Duration) (host.Result, error) {
	if err := s.Signal(syscall.SIGTERM); err != nil {
		select {
		case <-s.Ended():
			return s.Result(), nil
		default:
			return host.Result{}, err
		}
	}
	kill := time.NewTimer(grace)
	defer kill.Stop()
	for {
		select {
		case <-s.Ended():
			return s.Result(), nil
		case <-kill.C:
			_ = s.Signal(syscall.SIGKILL) // or it has just ended
		case <-ctx.Done():
			return host.Result{}, context.Cause(ctx)
		}
	}
}

var errNoLog = errors.New("its output is not kept: run the program with --detach, --on or --keep-output")

// logs sends the program's output.
func (s *serving) logs(ctx context.Context, leave func(), q request) (host.Result, error) {
	log := s.Log()
	if log == nil {
		return host.Result{}, errNoLog
	}
	s.read(leave, func(kind host.Kind, b []byte) {
		if kind == host.Signal && len(b) == 1 && q.Attach {
			_ = s.Signal(syscall.Signal(b[0])) // the program may have ended
		}
	})
	if err := log.copyTo(ctx, s.w, q.Lines, q.Follow); err != nil {
		return host.Result{}, err
	}
	if !q.Attach {
		return host.Result{}, nil
	}
	select {
	case <-s.Ended():
		return s.Result(), nil
	case <-ctx.Done():
		return host.Result{}, context.Cause(ctx)
	}
}
