package quic

import (
	"github.com/quic-go/quic-go/internal/congestion"
	"github.com/quic-go/quic-go/internal/monotime"
	"github.com/quic-go/quic-go/internal/protocol"
)

// A CongestionController decides when a connection may send, see Config.CongestionControl.
// All its methods are called from the goroutine that runs the connection.
type CongestionController = congestion.SendAlgorithmWithDebugInfos

// CongestionParameters is what a CongestionController is constructed from.
type CongestionParameters = congestion.Parameters

type (
	// A ByteCount is a number of bytes.
	ByteCount = protocol.ByteCount
	// A PacketNumber is the number of a packet.
	PacketNumber = protocol.PacketNumber
	// A MonotonicTime is an instant: nanoseconds since some moment before the process started.
	MonotonicTime = monotime.Time
)

// NewReno makes a New Reno congestion controller (RFC 9002, section 7).
func NewReno(p CongestionParameters) CongestionController { return congestion.NewReno(p) }

// NewCubic makes a CUBIC congestion controller (RFC 9438).
func NewCubic(p CongestionParameters) CongestionController { return congestion.NewCubicController(p) }
