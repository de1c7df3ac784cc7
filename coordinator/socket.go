package coordinator

import (
	"net/netip"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
)

// A ClientSocket is what a Client needs of the node's UDP socket.
type ClientSocket interface {
	// QUIC returns the transport on the socket, always the same one.
	QUIC() *quic.Transport
	// LocalAddr returns the address that the socket is bound to.
	LocalAddr() netip.AddrPort
	// Detour leads packets for the server to via, and back; see transport.Socket.Detour.
	Detour(server, via netip.AddrPort, sending bool)
}

// A ServerSocket is what a Server needs of its UDP socket. The handlers run on the
// goroutine that reads the socket, and must not wait.
type ServerSocket interface {
	ClientSocket
	// ServeSTUN has the socket answer STUN binding requests (RFC 8489 section 12).
	ServeSTUN()
	// HandleRelay has the socket call f for each relay frame that it receives.
	HandleRelay(f func(frame []byte, from netip.AddrPort))
	// HandleIndication has the socket call f for each STUN indication (RFC 8489
	// section 3) that it receives.
	HandleIndication(f func(b []byte, from netip.AddrPort))
	// WriteTo sends one datagram.
	WriteTo(b []byte, to netip.AddrPort) error
}

var _ ServerSocket = (*transport.Socket)(nil)
