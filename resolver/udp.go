package resolver

import (
	"errors"
	"net"
	"syscall"
)

// maxMessage is the size of the largest DNS message, in bytes: its length on TCP has 16
// bits.
const maxMessage = 1<<16 - 1

// serveUDP answers the datagrams of conn until conn is closed.
func (s *Server) serveUDP(conn net.PacketConn) {
	slots := make(chan struct{}, maxQueries)
	buf := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			// ICMP error for an earlier answer on a connected socket: that client is gone
			continue
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("resolver: socket lost", "addr", conn.LocalAddr().String(),
					"err", err)
			}
			return
		}
		asker, ok := s.admit(from, conn.LocalAddr())
		if !ok {
			continue
		}
		query := append([]byte(nil), buf[:n]...)
		slots <- struct{}{}
		s.running.Go(func() {
			defer func() { <-slots }()
			answer := s.answerAt(s.ctx, query, false, conn.LocalAddr(), asker)
			if answer == nil {
				return
			}
			if _, err := conn.WriteTo(answer, from); err != nil &&
				!errors.Is(err, net.ErrClosed) {
				s.log.Debug("resolver: answer lost", "to", from.String(), "err", err)
			}
		})
	}
}
