package rewrite

import (
	"sync/atomic"
)

// A SocketNames says what getsockname(2) and getpeername(2) answer for a socket while the
// kernel has certain names for it. Each is a struct sockaddr of at most 28 bytes.
type SocketNames struct {
	Own, Far         []byte // the kernel's names; Far is empty: it has no peer
	OwnName, FarName []byte // the answers; empty: unknown, the supervisor is asked
}

// ForgetCount returns a number that changes with each call of ForgetNames.
func (s *Server) ForgetCount() uint64 { return s.forgotten.Load() }

// SetNames lets the hook answer getsockname(2) and getpeername(2) for the socket with
// that cookie (SO_COOKIE, socket(7)), as long as the kernel's own names for it stay what
// they are. It does nothing if names were forgotten since ForgetCount returned count:
// they may be those of this socket.
func (s *Server) SetNames(cookie, count uint64, n SocketNames) {
	s.naming.Lock()
	defer s.naming.Unlock()
	for _, name := range [][]byte{n.Own, n.Far, n.OwnName, n.FarName} {
		if len(name) > sizeofName {
			return
		}
	}
	if s.forgotten.Load() != count {
		return
	}
	s.writeNamed(cookie, func(e *named) {
		e.cookie = cookie
		e.ownLen, e.farLen = uint8(copy(e.own[:], n.Own)), uint8(copy(e.far[:], n.Far))
		e.ownNameLen = uint8(copy(e.ownName[:], n.OwnName))
		e.farNameLen = uint8(copy(e.farName[:], n.FarName))
	})
}

// ForgetNames withdraws what SetNames has said of a socket.
func (s *Server) ForgetNames(cookie uint64) {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.forgotten.Add(1)
	if s.shared.named[cookie%namedSockets].cookie == cookie {
		s.writeNamed(cookie, func(e *named) { e.cookie = 0 })
	}
}

// writeNamed changes the entry of a cookie. Programs that read it meanwhile notice that.
func (s *Server) writeNamed(cookie uint64, write func(*named)) {
	e := &s.shared.named[cookie%namedSockets]
	atomic.AddUint32(&e.version, 1)
	write(e)
	atomic.AddUint32(&e.version, 1)
}

// AnswerNames says whether the hook answers getsockname(2) and getpeername(2) by what
// SetNames has said. Otherwise the supervisor receives all these calls.
func (s *Server) AnswerNames(yes bool) {
	s.naming.Lock()
	defer s.naming.Unlock()
	for _, nr := range s.target.names {
		if yes {
			s.shared.table[nr] |= hasNames
		} else {
			s.shared.table[nr] &^= hasNames
		}
	}
}
