package coordinator

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/quic-go/quic-go"
)

// The ways in which joining, signalling and staying joined fail. Errors of this
// package wrap one of them; none of their texts ever quotes a token.
var (
	// ErrJoinURL says that a join URL is malformed.
	ErrJoinURL = errors.New("malformed join URL")
	// ErrUnreachable says that no coordinator answered at the address in time.
	ErrUnreachable = errors.New("coordinator unreachable")
	// ErrPin says that the far side's key is not the one that the join URL pins.
	ErrPin = errors.New("pin mismatch")
	// ErrToken says that the coordinator does not know the token.
	ErrToken = errors.New("token not accepted")
	// ErrExpired says that the token was good once, and is no longer.
	ErrExpired = errors.New("token expired")
	// ErrName says that a node's name is not one label as RFC 1123 section 2.1
	// has them, or is reserved.
	ErrName = errors.New("invalid node name")
	// ErrFull says that the network's prefix has no address left.
	ErrFull = errors.New("network full")
	// ErrBusy says that the coordinator, or the receiver of a signal, has too
	// much to do at the moment: try again later.
	ErrBusy = errors.New("too busy")
	// ErrProtocol says that the far side sent what this version does not understand.
	ErrProtocol = errors.New("protocol violation")
	// ErrNoNode says that the node that a signal is for is not on the network.
	ErrNoNode = errors.New("no such node")
	// ErrEvicted says that the node was away for so long that the coordinator
	// gave its id and address to another, or that they are outside the network's
	// prefix by now. The node cannot come back as the one that it was.
	ErrEvicted = errors.New("address given away")
	// ErrReplaced says that another connection joined with this node's key.
	ErrReplaced = errors.New("another connection joined with the same key")
	// ErrDisconnected says that the connection to the coordinator was lost before
	// the answer came; the client is joining again.
	ErrDisconnected = errors.New("connection to the coordinator lost")
	// ErrClosed says that the client was closed. It wraps net.ErrClosed.
	ErrClosed = fmt.Errorf("coordinator client: %w", net.ErrClosed)
	// ErrNotRunning says that this user has no coordinator on this host.
	ErrNotRunning = errors.New("it does not run")
	// ErrRunning says that another coordinator holds the join file.
	ErrRunning = errors.New("another coordinator is running")
)

// Close codes tell the far side of a QUIC connection why it ended
// (CONNECTION_CLOSE with an application error, RFC 9000 section 19.19). A
// refusal travels as code and reason phrase, not as a message on the stream:
// closing the connection drops stream data that is still queued.
const (
	// a node leaves, an observer has seen enough
	codeDone quic.ApplicationErrorCode = iota
	// the coordinator stops, perhaps to start again
	codeShutdown
	codeToken    // ErrToken
	codeExpired  // ErrExpired
	codeName     // ErrName
	codeFull     // ErrFull
	codeBusy     // ErrBusy
	codeProtocol // ErrProtocol
	codeEvicted  // ErrEvicted
	codeReplaced // ErrReplaced
	codeLease    // the lease ran out
)

// refusals says which sentinel stands for which code.
var refusals = map[quic.ApplicationErrorCode]error{
	codeShutdown: ErrBusy, // a coordinator that stops may be starting again in a moment
	codeToken:    ErrToken,
	codeExpired:  ErrExpired,
	codeName:     ErrName,
	codeFull:     ErrFull,
	codeBusy:     ErrBusy,
	codeProtocol: ErrProtocol,
	codeEvicted:  ErrEvicted,
	codeReplaced: ErrReplaced,
	codeLease:    ErrDisconnected,
}

// A refusal is an error that the server tells the client: its code and a text
// without secrets.
type refusal struct {
	code quic.ApplicationErrorCode
	text string // cause and remedy; without the words of the sentinel
}

func refuse(code quic.ApplicationErrorCode, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.Unwrap().Error() + ": " + r.text }

func (r *refusal) Unwrap() error {
	if err := refusals[r.code]; err != nil {
		return err
	}
	return ErrProtocol
}

// maxReason bounds the reason phrase of a CONNECTION_CLOSE frame, in bytes: it
// has to fit into one packet of 1,200 bytes (RFC 9000 section 14.1).
const maxReason = 512

// refusalOf makes an error of the code and reason with which the far side
// closed the connection; nil if it did not close it that way. The text is not
// trusted: it is cut, and control characters are taken out.
func refusalOf(err error) error {
	app, ok := errors.AsType[*quic.ApplicationError](err)
	if !ok || !app.Remote || app.ErrorCode == codeDone {
		return nil
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, app.ErrorMessage)
	return &refusal{app.ErrorCode, clip(text, maxReason)}
}

// clip cuts s to at most n bytes without leaving half a character.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
