package transport

import (
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"
)

var (
	// ErrNoPath says that within Timers.Connect no packets could be exchanged with the
	// peer, neither directly nor through the relay.
	ErrNoPath = errors.New("no path to peer")
	// ErrNoPeer says that no admitted node has this id.
	ErrNoPeer = errors.New("no such peer")
	// ErrClosed says that the Node was closed. It wraps net.ErrClosed.
	ErrClosed = fmt.Errorf("transport closed: %w", net.ErrClosed)
	// ErrReset says that the peer has reset the stream, as RST does in TCP.
	ErrReset = errors.New("stream reset by peer")
	// ErrLost says that the whole connection to the peer has ended while the stream was
	// open: the peer died, left or became unreachable. Errors that match ErrLost match
	// net.ErrClosed, too.
	ErrLost = fmt.Errorf("connection to peer lost: %w", net.ErrClosed)
)

// Application error codes of this protocol, on the wire since version 1. Those
// of connections and those of streams are separate spaces (RFC 9000 section 20.2).
const (
	codeClosing quic.ApplicationErrorCode = 0x00 // the node leaves
	// the coordinator has said that the peer is gone
	codeRemoved quic.ApplicationErrorCode = 0x01
	// the two nodes use another connection
	codeSuperseded quic.ApplicationErrorCode = 0x02
	// the key belongs to no admitted node, or to another one
	codeStranger quic.ApplicationErrorCode = 0x03

	// the peer has sent too much that no program has read
	codeBudget quic.ApplicationErrorCode = 0x04

	codeReset    quic.StreamErrorCode = 0x00 // RST
	codeCanceled quic.StreamErrorCode = 0x01 // the opener stopped waiting for the answer
	codeProtocol quic.StreamErrorCode = 0x02 // the header could not be understood
	codeNoRead   quic.StreamErrorCode = 0x03 // the sender of this code reads no more
)

// A lostError is ErrLost with QUIC's reason.
type lostError struct{ cause error }

func (e *lostError) Error() string   { return "connection to peer lost: " + e.cause.Error() }
func (e *lostError) Unwrap() []error { return []error{ErrLost, e.cause} }

// superseded reports whether the peer closed the connection in favour of another.
func superseded(err error) bool {
	var app *quic.ApplicationError
	return errors.As(err, &app) && app.ErrorCode == codeSuperseded
}

// streamError turns an error of a QUIC stream into one of this package. It returns io.EOF
// as it is.
func streamError(err error) error {
	if err == nil {
		return nil
	}
	var stream *quic.StreamError
	if errors.As(err, &stream) {
		if stream.Remote {
			return ErrReset
		}
		return net.ErrClosed // this side's own Reset or CloseRead
	}
	if errors.Is(err, quic.ErrStreamClosed) {
		return net.ErrClosed // Write after CloseWrite
	}
	if errors.Is(err, net.ErrClosed) {
		return &lostError{err}
	}
	return err
}
