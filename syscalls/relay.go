package syscalls

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// relayBuffer is the size of one read in bytes: more than that the kernel
// rarely has ready, and it is several QUIC packets, so that they leave
// together.
const relayBuffer = 128 << 10

var relayBuffers = sync.Pool{New: func() any { return new([relayBuffer]byte) }}

// Relay carries bytes between a loopback connection, which it owns, and a
// stream until both directions have ended, each as TCP ends: FIN for FIN, and
// RST for RST.
func Relay(ctx context.Context, conn *net.TCPConn, stream Stream) {
	// The far side's reset must not overtake what is still being delivered in
	// the other direction; so a reset is left to the end, when both are done.
	var outReset, inReset bool
	stop := context.AfterFunc(ctx, func() {
		conn.SetLinger(0)
		conn.Close()
		stream.Reset()
	})
	defer stop()
	var out sync.WaitGroup
	out.Go(func() { outReset = sendOut(conn, stream) })
	inReset = bringIn(conn, stream)
	out.Wait()
	if outReset || inReset {
		conn.SetLinger(0) // close(2) sends RST, socket(7)
	}
	conn.Close()
}

// sendOut carries what the program writes. It returns true if the far side
// takes no more, which TCP says with a reset.
func sendOut(conn *net.TCPConn, stream Stream) (reset bool) {
	switch err := copyBytes(stream, conn); {
	case err == nil:
		stream.CloseWrite()
	case errors.Is(err, errWrite):
		// The program learns it when the other direction is done: at once, or,
		// if it only reads, never, as with TCP.
		return true
	default: // the program reset its connection, or died with data unread
		stream.Reset()
	}
	return false
}

// bringIn carries what the program reads. It returns true if the far side has
// reset the connection.
func bringIn(conn *net.TCPConn, stream Stream) (reset bool) {
	switch err := copyBytes(conn, stream); {
	case err == nil:
		conn.CloseWrite()
	case errors.Is(err, errWrite): // the program has closed its socket
		stream.CloseRead()
	default:
		// Ends sendOut as well, which may wait for a program that is silent.
		conn.SetLinger(0)
		conn.Close()
		return true
	}
	return false
}

// errWrite marks an error of the destination.
var errWrite = errors.New("write")

// copyBytes copies until src ends. Unlike io.Copy it tells the side that
// failed, and never uses a buffer of its own.
func copyBytes(dst io.Writer, src io.Reader) error {
	buf := relayBuffers.Get().(*[relayBuffer]byte)
	defer relayBuffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return errors.Join(errWrite, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tcpStream makes a TCP connection a Stream.
type tcpStream struct{ *net.TCPConn }

func (s tcpStream) Reset() {
	s.SetLinger(0)
	s.Close()
}
