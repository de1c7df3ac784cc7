package syscalls

import (
	"errors"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// countNames returns what describe needs: it is called before anything is asked about a
// socket.
func (n *Node) countNames() uint64 {
	if n.Names == nil {
		return 0
	}
	return n.Names.Count()
}

// describe tells the names of a TCP socket to the way in which calls are taken, so that
// it can answer getsockname(2) and getpeername(2) itself. They follow from the socket's
// kernel names until it is bound or connected anew; see forgetNames. count is what
// countNames has returned before.
func (n *Node) describe(s *progSocket, count uint64) {
	if n.Names == nil || n.tracing.Load() != nil || !s.isTCP() {
		return
	}
	id, err := s.cookie()
	if err != nil {
		return
	}
	local, ok, err := s.localName()
	if err != nil || !ok {
		return
	}
	// Sockets at addresses of the host may be, or become, direct connections.
	if _, ok := n.Aliases.role(local.Addr.Addr().Unmap()); !ok {
		return
	}
	names := SocketNames{Own: sockaddrBytes(local)}
	switch peer, ok, err := s.peerName(); {
	case errors.Is(err, unix.ENOTCONN):
	case err != nil || !ok:
		return
	default:
		if _, gate := roleOfGate(peer.Addr.Addr().Unmap()); gate &&
			n.relayed(unmapped(local.Addr), unmapped(peer.Addr)) == nil {
			return // the relay has not begun yet, or has ended
		}
		names.Far = sockaddrBytes(peer)
		// An address that is not translated may be a stranger's, or that of a neighbour
		// who is not known yet.
		if far, ok := n.remote(local, peer); ok && far != peer {
			names.FarName = sockaddrBytes(far)
		}
	}
	names.OwnName = sockaddrBytes(n.programName(s, local))
	n.Names.Set(id, count, names)
}

func sockaddrBytes(s abi.Sockaddr) []byte { return abi.AppendSockaddr(nil, s) }

// forgetNames withdraws what describe has said of a socket: a call may give other names
// to it, or other meanings to the names that the kernel has.
func (n *Node) forgetNames(s *progSocket) {
	if n.Names == nil {
		return
	}
	if id, err := s.cookie(); err == nil {
		n.Names.Forget(id)
	}
}
