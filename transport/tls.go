package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"
)

// ALPN is the application protocol of connections between nodes (RFC 7301).
const ALPN = "boxer/1"

var (
	errWrongKey = errors.New("the peer's key is not the one admitted")
	errStranger = errors.New("the key belongs to no admitted node")
)

// serverTLS accepts nodes whose key is admitted, and nobody else. There are no
// session tickets: each handshake looks the key up.
func (n *Node) serverTLS() *tls.Config {
	config := n.baseTLS()
	config.ClientAuth = tls.RequireAnyClientCert
	config.SessionTicketsDisabled = true
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		remote := hello.Conn.RemoteAddr()
		own := config.Clone()
		own.GetConfigForClient = nil
		own.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := n.identify(state, remote)
			return err
		}
		return own, nil
	}
	return config
}

// identify returns the admitted node at the far side of a connection. Packets
// that come along the path of a peer have to be that peer's.
func (n *Node) identify(state tls.ConnectionState, remote net.Addr) (Peer, error) {
	key, err := PeerKey(state)
	if err != nil {
		return Peer{}, err
	}
	who, ok := n.config.LookupKey(key)
	if !ok {
		return Peer{}, errStranger
	}
	if addr, ok := remote.(*net.UDPAddr); ok {
		if id, ok := fakeID(addr); ok && id != who.ID {
			return Peer{}, fmt.Errorf("node %d at the path of node %d: %w", who.ID, id, errWrongKey)
		}
	}
	return who, nil
}

// clientTLS accepts exactly one key.
func (n *Node) clientTLS(want Key) *tls.Config {
	config := n.baseTLS()
	config.ServerName = "boxer"      // not looked at by anybody
	config.InsecureSkipVerify = true // chains and names: the key is verified instead
	config.VerifyConnection = func(state tls.ConnectionState) error {
		key, err := PeerKey(state)
		if err == nil && key != want {
			err = errWrongKey
		}
		return err
	}
	return config
}

func (n *Node) baseTLS() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{ALPN},
		Certificates: []tls.Certificate{n.config.Identity.Certificate()},
	}
}

// quicConfig is that of all connections between nodes.
func (n *Node) quicConfig() *quic.Config {
	return &quic.Config{
		Versions:             []quic.Version{quic.Version1},
		HandshakeIdleTimeout: min(handshakeTimeout, n.timers.Connect),
		MaxIdleTimeout:       n.timers.Idle,
		KeepAlivePeriod:      n.timers.KeepAlive,
		// 1 Gbit/s at 20 ms has 2.5 MB under way; one stream gets there from
		// its first window in a few round trips, and has room for 50 ms.
		InitialStreamReceiveWindow: 512 << 10,
		MaxStreamReceiveWindow:     6 << 20,
		// All streams together: no bound, as TCP connections have none together.
		// Under one, programs that do not read would in time hold up those that do.
		InitialConnectionReceiveWindow: noWindow,
		MaxConnectionReceiveWindow:     noWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxDatagramStreams,
		EnableDatagrams:                true,
		// So that Reset can deliver first what was written, as TCP's RST comes
		// behind it (RESET_STREAM_AT, draft-ietf-quic-reliable-stream-reset).
		EnableStreamResetPartialDelivery: true,
		CongestionControl:                n.config.Congestion.controller,
	}
}

// noWindow is more bytes than a connection ever carries.
const noWindow = 1 << 50

// maxStreams bounds the streams that one peer may have open at a time.
const maxStreams = 1 << 15
