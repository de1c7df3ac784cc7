package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// The benchmarks run over loopback, both ends in this process, each next to
// plain quic-go over two bare UDP sockets. Compare with
//
//	go test -run - -bench . -count 10 | benchstat -col /over -

// duplex is a stream of either side of the comparison.
type duplex interface {
	io.ReadWriter
	CloseWrite() error
}

type plainStream struct{ *quic.Stream }

func (s plainStream) CloseWrite() error { return s.Close() }

// A bench opens streams of which the far side does what serve says.
type bench func(b *testing.B, serve func(duplex)) (open func() duplex)

func overBoxer(b *testing.B, serve func(duplex)) func() duplex {
	l := newLab(b)
	near, far := l.node(1), l.node(2)
	far.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		serve(s)
	})
	return func() duplex { return near.open(b, 2) }
}

// overQUIC has streams open like boxer's: a header goes out, a byte comes back.
func overQUIC(b *testing.B, serve func(duplex)) func() duplex {
	return openPlain(b, serve, func() *quic.Transport {
		suppressBufferWarning()
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		return &quic.Transport{Conn: conn}
	})
}

// overSocket is overQUIC on this package's sockets: what is above costs nothing then.
func overSocket(b *testing.B, serve func(duplex)) func() duplex {
	return openPlain(b, serve, func() *quic.Transport {
		s, err := Listen(loopback())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s.QUIC()
	})
}

func openPlain(b *testing.B, serve func(duplex),
	transport func() *quic.Transport) func() duplex {
	near, far := transport(), transport()
	identity, err := NewIdentity()
	if err != nil {
		b.Fatal(err)
	}
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{identity.Certificate()},
		InsecureSkipVerify: true, NextProtos: []string{"plain"}}
	quicConfig := (&Node{timers: Timers{}.withDefaults()}).baseConfig(newBudget(0))
	listener, err := far.Listen(tlsConfig, quicConfig)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() {
		cancel()
		near.Close()
		far.Close()
	})
	go func() {
		conn, err := listener.Accept(ctx)
		if err != nil {
			return
		}
		for {
			s, err := conn.AcceptStream(ctx)
			if err != nil {
				return
			}
			go func() {
				if _, err := readHeader(s); err == nil {
					s.Write([]byte{0})
					serve(plainStream{s})
				}
			}()
		}
	}()
	conn, err := near.Dial(ctx, listener.Addr(), tlsConfig, quicConfig)
	if err != nil {
		b.Fatal(err)
	}
	hello, _ := AppendHeader(nil, header())
	return func() duplex {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			b.Fatal(err)
		}
		var status [1]byte
		s.Write(hello)
		if _, err := io.ReadFull(s, status[:]); err != nil {
			b.Fatal(err)
		}
		return plainStream{s}
	}
}

func compare(b *testing.B, run func(*testing.B, bench)) {
	b.Run("over=quic", func(b *testing.B) { run(b, overQUIC) })
	b.Run("over=socket", func(b *testing.B) { run(b, overSocket) })
	b.Run("over=boxer", func(b *testing.B) { run(b, overBoxer) })
}

// BenchmarkBulk is the throughput of one stream.
func BenchmarkBulk(b *testing.B) {
	compare(b, func(b *testing.B, over bench) {
		const size = 1 << 20
		s := over(b, func(s duplex) {
			io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s},
				make([]byte, 64<<10))
			s.CloseWrite()
		})()
		data := make([]byte, size)
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		s.CloseWrite()
		io.Copy(io.Discard, struct{ io.Reader }{s})
	})
}

// BenchmarkBulkMany is the throughput of 64 streams at once.
func BenchmarkBulkMany(b *testing.B) {
	compare(b, func(b *testing.B, over bench) {
		const streams, size = 64, 64 << 10
		open := over(b, func(s duplex) {
			io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s},
				make([]byte, 64<<10))
			s.CloseWrite()
		})
		b.SetBytes(streams * size)
		all := make([]duplex, streams)
		for i := range all {
			all[i] = open()
		}
		b.ResetTimer()
		var writing sync.WaitGroup
		for _, s := range all {
			writing.Go(func() {
				data := make([]byte, size)
				for range b.N {
					if _, err := s.Write(data); err != nil {
						b.Error(err)
						return
					}
				}
				s.CloseWrite()
				io.Copy(io.Discard, struct{ io.Reader }{s})
			})
		}
		writing.Wait()
	})
}

// BenchmarkRoundTrip is the time from a 1 KiB message to its echo.
func BenchmarkRoundTrip(b *testing.B) {
	compare(b, func(b *testing.B, over bench) {
		s := over(b, echoDuplex)()
		data := make([]byte, 1<<10)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Write(data); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, data); err != nil {
				b.Fatal(err)
			}
		}
		s.CloseWrite()
	})
}

// BenchmarkOpen is the time to open a stream on a connection that is there,
// until the first byte has come back, and to close it.
func BenchmarkOpen(b *testing.B) {
	compare(b, func(b *testing.B, over bench) {
		open := over(b, echoDuplex)
		open().CloseWrite()
		b.ReportAllocs()
		for b.Loop() {
			s := open()
			s.Write([]byte{1})
			s.CloseWrite()
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{s}); n != 1 ||
				err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

func echoDuplex(s duplex) {
	io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, make([]byte, 4<<10))
	s.CloseWrite()
}

// BenchmarkDatagrams sends datagrams of 1,200 bytes, some at a time.
func BenchmarkDatagrams(b *testing.B) {
	const window = 32
	l := newLab(b)
	arrived := make(chan struct{}, 2*window)
	near := l.node(1)
	l.node(2, func(c *Config) { c.Datagram = func(uint32, Datagram) { arrived <- struct{}{} } })
	d := testDatagram(1200)
	send := func() {
		if err := near.SendDatagram(2, d); err != nil {
			b.Fatal(err)
		}
	}
	for range window {
		send()
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(d.Payload)))
	for b.Loop() {
		<-arrived
		send()
	}
}

// BenchmarkOpenOptimistic is BenchmarkOpen of a destination that the far side has
// announced.
func BenchmarkOpenOptimistic(b *testing.B) {
	l := newLab(b)
	near, far := l.node(1), l.node(2)
	far.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		if s.LowCredit() {
			s.GrantCredit(1 << 10)
		}
		echoDuplex(s)
	})
	far.Announce(header().Destination, 1<<10)
	near.open(b, 2).Reset()
	b.ReportAllocs()
	optimistic := 0
	for b.Loop() {
		s, ok := near.OpenOptimistic(2, header())
		if ok {
			optimistic++
		} else {
			s = near.open(b, 2)
		}
		s.Write([]byte{1})
		s.CloseWrite()
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{s}); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(optimistic)/float64(b.N), "optimistic/op")
}

// BenchmarkHeader is the work on a stream's header at both ends.
func BenchmarkHeader(b *testing.B) {
	buf := make([]byte, 0, maxHeaderRest)
	b.ReportAllocs()
	for b.Loop() {
		wire, err := AppendHeader(buf, header())
		if err == nil {
			_, err = readHeader(bytes.NewReader(wire))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive is the receive loop: one datagram of a peer's, as the kernel has
// coalesced it, cut into packets for QUIC.
func BenchmarkReceive(b *testing.B) {
	from, err := Listen(loopback())
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	to, err := Listen(loopback())
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	const packet, packets = 1252, 8
	data := bytes.Repeat([]byte{0x40}, packet*packets) // begins like QUIC
	oob := segmented(packet)
	ms := make([]ipv4.Message, packets)
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1500)},
			OOB: make([]byte, controlSize)}
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := from.write(data, oob, to.LocalAddr()); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < packets; {
			n, err := to.in.readBatch(ms)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}

// BenchmarkPathSwitch is what it takes to send packets another way.
func BenchmarkPathSwitch(b *testing.B) {
	s, err := Listen(loopback())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p := &peer{node: &Node{log: slog.New(slog.DiscardHandler)},
		changed: make(chan struct{}), route: s.addRoute(1, func() {})}
	pairs := [2]*pair{{path: path{to: s.LocalAddr()}},
		{path: path{to: s.LocalAddr(), relay: true}}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.usePathLocked(pairs[i%2])
	}
}
