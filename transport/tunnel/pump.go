package tunnel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"
)

const (
	// maxDatagram is the largest datagram that is carried, in bytes. No packet of QUIC is
	// larger on a link of Ethernet's or loopback's size.
	maxDatagram = 1 << 14
	// batch is how many datagrams one record of TLS may have. A tunnel holds a buffer for
	// each, also that of a client that nobody knows yet. So there are few of them.
	batch = 4
)

// pump carries datagrams between a connected UDP socket and a stream until either ends,
// and closes both. It adds the datagrams that come out of the UDP socket to read, unless
// that is nil.
func pump(udp *net.UDPConn, stream io.ReadWriteCloser, read *atomic.Int64) error {
	var both sync.WaitGroup
	var out error
	end := func() {
		_ = udp.Close()
		_ = stream.Close()
	}
	both.Go(func() {
		defer end()
		out = fromUDP(udp, stream, read)
	})
	in := toUDP(udp, stream)
	end()
	both.Wait()
	if in != nil && !errors.Is(in, net.ErrClosed) {
		return in
	}
	return out
}

// fromUDP sends datagrams into the stream. Those that have come in together share a
// record.
func fromUDP(udp *net.UDPConn, stream io.Writer, read *atomic.Int64) error {
	conn := ipv4.NewPacketConn(udp)
	messages := make([]ipv4.Message, batch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	var b []byte
	for {
		n, err := conn.ReadBatch(messages, 0)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if n > 0 && read != nil {
			read.Add(int64(n))
		}
		b = b[:0]
		for _, m := range messages[:max(n, 0)] {
			b = binary.BigEndian.AppendUint16(b, uint16(m.N))
			b = append(b, m.Buffers[0][:m.N]...)
		}
		// An error of the socket is about a datagram that was sent: nobody listens there.
		if len(b) > 0 {
			if _, err := stream.Write(b); err != nil {
				return fmt.Errorf("tunnel: %w", err)
			}
		}
	}
}

// toUDP sends what comes out of the stream.
func toUDP(udp *net.UDPConn, stream io.Reader) error {
	in := bufio.NewReaderSize(stream, maxDatagram)
	b := make([]byte, maxDatagram)
	for {
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n == 0 || n > len(b) {
			return fmt.Errorf("tunnel: a datagram of %d bytes; want 1 to %d", n, len(b))
		}
		if _, err := io.ReadFull(in, b[:n]); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
		if _, err := udp.Write(b[:n]); errors.Is(err, net.ErrClosed) {
			return err // any other error is a lost datagram
		}
	}
}
