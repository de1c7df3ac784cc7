package coordinator

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/quic-go/quic-go"
)

// Errors of joining, of signals and of a membership. Every error of this package wraps
// one of them. No error text contains a token.
var (
	// ErrJoinURL says that a join URL is malformed.
	ErrJoinURL = errors.New("malformed join URL")
	// ErrUnreachable says that no coordinator answered at the address in time.
	ErrUnreachable = errors.New("coordinator unreachable")
	// ErrPin says that the far side's key is not the one that the join URL pins.
	ErrPin = errors.New("pin mismatch")
	// ErrToken says that the coordinator does not know the token.
	ErrToken = errors.New("token not accepted")
	// ErrExpired says that the token has expired.
	ErrExpired = errors.New("token expired")
	// ErrName says that a node's name is not a label of RFC 1123 section 2.1, or is
	// reserved.
	ErrName = errors.New("invalid node name")
	// ErrFull says that the network's prefix has no free address.
	ErrFull = errors.New("network full")
	// ErrBusy says that the coordinator, or the receiver of a signal, is overloaded. Try
	// again later.
	ErrBusy = errors.New("too busy")
	// ErrProtocol says that the peer sent a message that this version does not
	// understand.
	ErrProtocol = errors.New("protocol violation")
	// ErrNoNode says that the target of a signal is not on the network.
	ErrNoNode = errors.New("no such node")
	// ErrEvicted says that the node cannot rejoin under its old identity: an operator has
	// evicted it, it was away for so long that the coordinator assigned its id and
	// address to another node, or the address is no longer in the network's prefix.
	ErrEvicted = errors.New("no longer a member")
	// ErrReplaced says that another connection joined with this node's key.
	ErrReplaced = errors.New("another connection joined with the same key")
	// ErrDisconnected says that the connection to the coordinator was lost before the
	// answer came. The client is rejoining.
	ErrDisconnected = errors.New("connection to the coordinator lost")
	// ErrClosed says that the client was closed. It wraps net.ErrClosed.
	ErrClosed = fmt.Errorf("coordinator client: %w", net.ErrClosed)
	// ErrNotRunning says that this user has no coordinator on this host.
	ErrNotRunning = errors.New("it does not run")
	// ErrRunning says that another coordinator holds the join file.
	ErrRunning = errors.New("another coordinator is running")
)

// Close codes tell the peer of a QUIC connection why it ended (CONNECTION_CLOSE with an
// application error, RFC 9000 section 19.19). A refusal is sent as code and reason
// phrase, and not as a message on the stream, since closing the connection drops queued
// stream data.
const (
	// a node leaves deliberately, or an observer is finished
	codeDone quic.ApplicationErrorCode = iota
	// the coordinator is stopping, perhaps to restart
	codeShutdown
	codeToken    // ErrToken
	codeExpired  // ErrExpired
	codeName     // ErrName
	codeFull     // ErrFull
	codeBusy     // ErrBusy
	codeProtocol // ErrProtocol
	codeEvicted  // ErrEvicted
	codeReplaced // ErrReplaced
	codeLease    // the lease has expired
)

// refusals maps codes to errors.
var refusals = map[quic.ApplicationErrorCode]error{
	codeShutdown: ErrBusy, // a coordinator that stops may be restarting
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

// A refusal is an error that the server sends to the client: a code, and a text without
// secrets.
type refusal struct {
	code quic.ApplicationErrorCode
	text string // cause and remedy; without the text of the error for code
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

// maxReason limits the reason phrase of a CONNECTION_CLOSE frame, in bytes. It has to fit
// into one packet of 1,200 bytes (RFC 9000 section 14.1).
const maxReason = 512

// refusalOf converts the code and reason with which the peer closed the connection into
// an error. It returns nil if the peer did not close it that way. The text is not
// trusted: refusalOf limits its length and removes control characters.
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

// clip cuts s to at most n bytes, and not within a character.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
