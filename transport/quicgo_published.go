//go:build !quicpatched

package transport

import "github.com/quic-go/quic-go"

// Published quic-go has one congestion control, New Reno, and bounds received data by the
// windows of streams and connections alone: a peer may hold what its connection's window
// allows, and peers together have no other bound than that of each.

// quicPatched says that quic-go has boxer's patches.
const quicPatched = false

// publishedWindow is the window of a stream at first, in bytes: it is there whether or
// not the stream is answered.
const publishedWindow = 64 << 10

func (n *Node) patchConfig(c *quic.Config, _ *account) {
	c.InitialStreamReceiveWindow = publishedWindow
}

func setReceiveWindow(*quic.Stream, uint64) {}

func buffered(*quic.Stream) int64 { return 0 }

func setMaxIncomingStreams(quicConn, int64) {}
