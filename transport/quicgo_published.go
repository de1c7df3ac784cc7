//go:build !quicpatched

package transport

import "github.com/quic-go/quic-go"

// Published quic-go has one congestion control, New Reno, and limits received data by the
// windows of streams and connections alone: there is a limit for each peer, and none for
// all peers together.

// quicPatched says that quic-go has boxer's patches.
const quicPatched = false

// publishedWindow is the first receive window of a stream, answered or not, in bytes.
const publishedWindow = 64 << 10

func (n *Node) patchConfig(c *quic.Config, _ *account) {
	c.InitialStreamReceiveWindow = publishedWindow
}

func setReceiveWindow(*quic.Stream, uint64) {}

func buffered(*quic.Stream) int64 { return 0 }

func setMaxIncomingStreams(quicConn, int64) {}
