package over

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// QUIC is plain quic-go: one UDP socket under a quic.Transport, one QUIC connection, and
// one stream for each of the meter's connections. It has the windows and TLS settings of
// boxer's package transport.
type QUIC struct{}

const quicALPN = "bench"

var quicConfig = &quic.Config{
	Versions:                   []quic.Version{quic.Version1},
	KeepAlivePeriod:            2500 * time.Millisecond,
	InitialStreamReceiveWindow: 512 << 10,
	MaxStreamReceiveWindow:     6 << 20,
	// no limit, or unread streams would block the others
	InitialConnectionReceiveWindow: 1 << 50,
	MaxConnectionReceiveWindow:     1 << 50,
	MaxIncomingStreams:             1 << 15,
}

// Listen implements Network.
func (QUIC) Listen(_ context.Context, addr string) (meter.Listener, error) {
	t, err := quicTransport(addr)
	if err != nil {
		return nil, err
	}
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	l, err := t.Listen(&tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{quicALPN},
		Certificates: []tls.Certificate{cert},
	}, quicConfig)
	if err != nil {
		return nil, err
	}
	q := &quicListener{streams: make(chan *quic.Stream)}
	go q.accept(l)
	return q, nil
}

// Dialer implements Network. It makes the QUIC connection. A dial then only opens a
// stream.
func (QUIC) Dialer(ctx context.Context, addr string) (meter.Dialer, error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	t, err := quicTransport("0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	conn, err := t.Dial(ctx, to, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{quicALPN}, ServerName: "bench",
		InsecureSkipVerify: true, // the lab has no other hosts
	}, quicConfig)
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", to, err)
	}
	return func(ctx context.Context) (meter.Conn, error) {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		return quicStream{s}, nil
	}, nil
}

func quicTransport(addr string) (*quic.Transport, error) {
	local, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	// quic-go raises the socket's buffers itself.
	conn, err := net.ListenUDP("udp4", local)
	if err != nil {
		return nil, err
	}
	return &quic.Transport{Conn: conn}, nil
}

// quicListener accepts the streams of all connections.
type quicListener struct {
	streams chan *quic.Stream
	err     error // why there are no more; valid when streams is closed
}

// accept runs until the process ends.
func (q *quicListener) accept(l *quic.Listener) {
	for {
		conn, err := l.Accept(context.Background())
		if err != nil {
			q.err = err
			close(q.streams)
			return
		}
		go func() {
			for {
				s, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				q.streams <- s
			}
		}()
	}
}

// Accept implements meter.Listener.
func (q *quicListener) Accept() (meter.Conn, error) {
	s, ok := <-q.streams
	if !ok {
		return nil, q.err
	}
	return quicStream{s}, nil
}

// quicStream is a stream whose Close behaves like that of TCP.
type quicStream struct{ *quic.Stream }

// CloseWrite implements meter.Conn.
func (s quicStream) CloseWrite() error { return s.Stream.Close() }

// Close ends both directions.
func (s quicStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// certificate makes a key and a self-signed certificate.
func certificate() (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
