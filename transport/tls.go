package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"
)

// The names of the protocol between nodes (RFC 7301). Peers of the first version know no
// IPFields but those in the header of a stream, which they skip.
const (
	ALPN      = "boxer/2"
	firstALPN = "boxer/1"
)

// protocols are the versions that a node speaks, the one that it prefers first.
func (n *Node) protocols() []string {
	if n.config.firstVersion {
		return []string{firstALPN}
	}
	return []string{ALPN, firstALPN}
}

var (
	errWrongKey = errors.New("the peer's key is not the one admitted")
	errStranger = errors.New("the key belongs to no admitted node")
)

// serverTLS accepts only nodes whose key is admitted. There are no session tickets: each
// handshake looks the key up.
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

// identify returns the admitted node at the far end of a connection. If the remote
// address is a peer's fake address, the node has to be that peer.
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
			return Peer{}, fmt.Errorf("node %d at the path of node %d: %w", who.ID, id,
				errWrongKey)
		}
	}
	return who, nil
}

// clientTLS accepts one key only.
func (n *Node) clientTLS(want Key) *tls.Config {
	config := n.baseTLS()
	config.ServerName = "boxer" // crypto/tls requires one; the server ignores it
	// of chains and names: VerifyConnection checks the key
	config.InsecureSkipVerify = true
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
		NextProtos:   n.protocols(),
		Certificates: []tls.Certificate{n.config.Identity.Certificate()},
	}
}

// quicConfig returns the configuration of connections to a peer, who has the account a;
// nil: see newcomers.
func (n *Node) quicConfig(a *account) *quic.Config {
	config := n.baseConfig(n.budget)
	n.patchConfig(config, a)
	return config
}

// baseConfig returns the part of quicConfig that published quic-go knows.
func (n *Node) baseConfig(b *budget) *quic.Config {
	return &quic.Config{
		Versions:             []quic.Version{quic.Version1},
		HandshakeIdleTimeout: min(handshakeTimeout, n.timers.Connect),
		MaxIdleTimeout:       n.timers.Idle,
		KeepAlivePeriod:      n.timers.KeepAlive,

		InitialStreamReceiveWindow:     answeredWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: uint64(b.peer),
		MaxConnectionReceiveWindow:     uint64(b.peer),
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxDatagramStreams,

		EnableDatagrams: true,
		// Reset delivers what was written before it, as RST follows the data in TCP
		// (RESET_STREAM_AT, draft-ietf-quic-reliable-stream-reset).
		EnableStreamResetPartialDelivery: true,
	}
}

// listenConfig returns the configuration of connections that peers dial.
func (n *Node) listenConfig() *quic.Config {
	newcomer := n.quicConfig(nil)
	config := newcomer.Clone()
	config.GetConfigForClient = func(info *quic.ClientInfo) (*quic.Config, error) {
		if a := n.accountAt(info.RemoteAddr); a != nil {
			return n.quicConfig(a), nil
		}
		return newcomer, nil
	}
	return config
}
