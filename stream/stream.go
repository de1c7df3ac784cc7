// Package stream is the contract between a supervisor and what carries the connections
// of its programs.
//
// Package syscalls relays bytes between a program's socket and a Stream. It does not know
// what carries the Stream: QUIC (package transport), plain TCP (TCP), or anything that a
// later version adds. All methods of Stream are mandatory, so that a carrier which lacks
// one does not compile. A carrier without urgent data says so by embedding NoUrgent, one
// without fields of IP headers by embedding NoIPFields.
//
// Package internal/streamtest has the tests that every implementation must pass.
package stream

import (
	"errors"
	"io"
)

// A Stream is a reliable byte stream in each direction, which ends as a TCP connection
// does (RFC 9293).
//
// One goroutine may read while another one writes. The reading methods are Read, Wait and
// UrgentIn, the writing ones Write, CloseWrite and MarkUrgent. The other methods may be
// called from any goroutine at any time.
//
// The owner of a Stream has to end both directions: reading by Read until io.EOF or
// another error, by CloseRead or by Reset; writing by CloseWrite or by Reset.
type Stream interface {
	// Read reads what the peer has written. After the peer's CloseWrite it returns
	// io.EOF behind the last byte. After the peer's Reset it returns another error,
	// maybe before all that the peer has written. This side's CloseRead and Reset end a
	// Read that waits.
	//
	// Write writes all of its argument, or returns an error: after this side's CloseWrite
	// or Reset, and after the peer's CloseRead or Reset. It may return before the peer
	// has the bytes, so a Write may succeed that the peer has not waited for.
	io.ReadWriter

	// Wait waits until Read would not wait: there are bytes, or the direction has ended.
	// The caller needs no buffer meanwhile. Wait consumes nothing. It returns nil where
	// Read would return bytes or io.EOF; another error of Read may come from Wait or be
	// left to Read.
	Wait() error

	// Flush sends what the Stream holds back until the first Write, such as the header
	// of a connection that was opened without waiting for the peer. A caller that has
	// nothing to write yet calls it. Its error is also the next Write's.
	Flush() error

	// CloseWrite ends this side's bytes, as FIN does: the peer reads io.EOF behind them.
	CloseWrite() error

	// CloseRead says that this side reads no more. The peer's Write fails from some point
	// on, and OnStopSending tells it, where the carrier can say that (TCP cannot).
	CloseRead() error

	// Reset ends both directions at once, as RST does. It does nothing for a direction
	// that has ended, and may be called more than once.
	Reset()

	// OnStopSending calls f, once and on a goroutine of its own, when Write could not
	// succeed any more because the peer has called CloseRead or Reset, or is gone. It
	// does not wait for a Write to find that out. It does not call f if this side has
	// ended the direction itself. stop cancels the call, and reports whether it did so
	// in time.
	OnStopSending(f func()) (stop func() bool)

	// MarkUrgent makes the next byte that is written urgent (MSG_OOB, send(2)). After an
	// error that byte is like any other.
	MarkUrgent() error

	// UrgentIn returns the index of the first urgent byte among the last n bytes that
	// Read has returned, and forgets the mark; -1 if there is none.
	UrgentIn(n int) int

	// SetIPFields tells the peer which IPFields this side's packets have from now on. It
	// does not wait. The peer may learn of them after bytes that are written later; of
	// several, it may learn the last ones only.
	SetIPFields(IPFields)

	// OnIPFields returns the IPFields that the peer's packets have, as far as the peer
	// has told. From then on it calls f, one call at a time, whenever the peer tells of
	// others. It is called once.
	OnIPFields(f func(IPFields)) IPFields
}

// NoUrgent is embedded by a Stream whose carrier has no urgent data: the urgent byte
// stays in its place in the stream, as with SO_OOBINLINE (socket(7)), without the mark.
type NoUrgent struct{}

// MarkUrgent returns errors.ErrUnsupported.
func (NoUrgent) MarkUrgent() error { return errors.ErrUnsupported }

// UrgentIn returns -1.
func (NoUrgent) UrgentIn(int) int { return -1 }
