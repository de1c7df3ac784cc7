package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

const (
	// idleTimeout closes a TCP connection without queries: "on the order of a few
	// seconds" (RFC 7766 section 6.2.3).
	idleTimeout = 10 * time.Second
	// writeTimeout ends a TCP connection whose client does not read.
	writeTimeout = 5 * time.Second
	// acceptPause is the pause after a failed accept(2). A failure such as EMFILE would
	// otherwise repeat at once.
	acceptPause = 50 * time.Millisecond
)

// serveTCP answers the connections of l until l is closed.
func (s *Server) serveTCP(l net.Listener) {
	slots := make(chan struct{}, maxConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-slots
			s.log.Warn("resolver: accept", "addr", l.Addr().String(), "err", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		asker, ok := s.admit(conn.RemoteAddr(), conn.LocalAddr())
		if !ok {
			<-slots
			conn.Close()
			continue
		}
		s.running.Go(func() {
			defer func() { <-slots }()
			s.serveConn(conn, asker)
		})
	}
}

// serveConn answers the queries of one connection in order, until its client closes it,
// is idle, or sends a message that is not DNS.
func (s *Server) serveConn(conn net.Conn, asker int) {
	defer conn.Close()
	stop := context.AfterFunc(s.ctx, func() { conn.Close() })
	defer stop()
	for {
		conn.SetReadDeadline(time.Now().Add(idleTimeout))
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		answer := s.answerAt(s.ctx, query, true, conn.LocalAddr(), asker)
		if answer == nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := writeMessage(conn, answer); err != nil {
			return
		}
	}
}

// readMessage reads one message, which its length precedes (RFC 1035 section 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, err
	}
	return msg, nil
}

// writeMessage writes the length of msg, at most maxMessage, and then msg, in one segment
// if they fit.
func writeMessage(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}

// readDatagram and writeDatagram do the same on a connected UDP socket.
func readDatagram(r io.Reader) ([]byte, error) {
	msg := make([]byte, maxMessage)
	n, err := r.Read(msg)
	return msg[:n], err
}

func writeDatagram(w io.Writer, msg []byte) error {
	_, err := w.Write(msg)
	return err
}
