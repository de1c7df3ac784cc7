package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// A Session is a connection to the supervisor of a node, for one request.
type Session struct {
	conn io.ReadWriteCloser
	r    *host.Reader
	w    *host.Writer
}

// Open proves the key to the supervisor at the other end, if it asks for a proof. binding
// is as in Access. key may be nil where no proof is needed. After an error the connection
// is closed.
func Open(conn io.ReadWriteCloser, key ed25519.PrivateKey, binding []byte) (*Session, error) {
	s := &Session{conn, host.NewReader(conn), host.NewWriter(conn)}
	if err := s.prove(key, binding); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// ErrNoKey means that this user has no key, and a node asks for one.
var ErrNoKey = errors.New("the node asks for its owner's key, and this user has none (see boxer owner --help)")

func (s *Session) prove(key ed25519.PrivateKey, binding []byte) error {
	var c challenge
	if err := readJSON(s.r, host.Challenge, &c); err != nil {
		return err
	}
	if len(c.Nonce) == 0 {
		return nil
	}
	if key == nil {
		return ErrNoKey
	}
	return s.w.WriteJSON(host.Proof, proof{Owner: key.Public().(ed25519.PublicKey),
		Signature: ed25519.Sign(key, signed(c.Nonce, binding))})
}

// Streams are the streams and what else comes from a terminal, on the client's side.
type Streams struct {
	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer // nil: what comes is thrown away

	Signals <-chan os.Signal       // are passed on
	Windows <-chan host.WindowSize // sizes of the terminal
}

// Describe asks what the node is.
func (s *Session) Describe() (d Description, err error) {
	defer s.conn.Close()
	if err := s.w.WriteJSON(host.Request, request{Do: doDescribe}); err != nil {
		return d, err
	}
	return d, readJSON(s.r, host.Event, &d)
}

// Exec runs a command in the node, and returns how it has ended.
func (s *Session) Exec(ctx context.Context, c Command, io Streams) (host.Result, error) {
	return s.run(ctx, request{Do: doExec, Command: &c}, io)
}

// Logs writes the program's output, from its last lines on, or all that there is if lines
// is negative. With follow it goes on until the program has ended.
func (s *Session) Logs(ctx context.Context, lines int, follow bool, out Streams) error {
	_, err := s.run(ctx, request{Do: doLogs, Lines: lines, Follow: follow}, out)
	return err
}

// Attach writes the program's output from its last lines on, passes signals on to it, and
// returns how it has ended.
func (s *Session) Attach(ctx context.Context, lines int, io Streams) (host.Result, error) {
	return s.run(ctx, request{Do: doLogs, Lines: lines, Follow: true, Attach: true}, io)
}

// Stop ends the program by SIGTERM, and after the grace by SIGKILL. It returns how the
// program has ended.
func (s *Session) Stop(ctx context.Context, grace time.Duration) (host.Result, error) {
	return s.run(ctx, request{Do: doStop, Grace: host.Duration(grace)}, Streams{})
}

// Signal sends a signal to the program.
func (s *Session) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := s.run(ctx, request{Do: doSignal, Signal: sig}, Streams{})
	return err
}

// SetListed lists the node under its name, or not any more.
func (s *Session) SetListed(ctx context.Context, listed bool) error {
	_, err := s.run(ctx, request{Do: doList, Listed: listed}, Streams{})
	return err
}

// run sends a request and carries the streams until the result.
func (s *Session) run(ctx context.Context, q request, io Streams) (host.Result, error) {
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	result, err := s.carry(q, io)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && result.Error != "":
		err = errors.New(result.Error)
	}
	if err != nil && result.Code == 0 {
		result.Code = exitBoxer
	}
	return result, err
}

func (s *Session) carry(q request, streams Streams) (result host.Result, err error) {
	if err := s.w.WriteJSON(host.Request, q); err != nil {
		return result, err
	}
	for _, out := range []*io.Writer{&streams.Stdout, &streams.Stderr} {
		if *out == nil { // the node may send output that this request does not ask for
			*out = io.Discard
		}
	}
	ended := make(chan struct{})
	defer close(ended)
	go s.pass(streams, ended)
	input := host.NewInputSender(s.w)
	defer input.End()
	if q.Do == doExec {
		if streams.Stdin == nil {
			_ = s.w.Write(host.Stdin, nil)
		} else {
			go input.Send(streams.Stdin) // a read of a terminal cannot be ended
		}
	}
	for {
		kind, b, err := s.r.Read()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the node has ended")
			}
			return result, err
		}
		switch kind {
		case host.Stdout:
			_, err = streams.Stdout.Write(b)
		case host.Stderr:
			_, err = streams.Stderr.Write(b)
		case host.Credit:
			input.Credit()
		case host.Exit:
			return result, json.Unmarshal(b, &result)
		}
		if err != nil {
			return result, fmt.Errorf("write the output: %w", err)
		}
	}
}

// pass passes signals and window sizes on.
func (s *Session) pass(from Streams, ended <-chan struct{}) {
	for {
		select {
		case sig := <-from.Signals:
			if sig, ok := sig.(syscall.Signal); ok {
				_ = s.w.Write(host.Signal, []byte{byte(sig)})
			}
		case size := <-from.Windows:
			_ = s.w.WriteJSON(host.Window, size)
		case <-ended:
			return
		}
	}
}
