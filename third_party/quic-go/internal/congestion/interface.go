package congestion

import (
	"time"

	"github.com/quic-go/quic-go/internal/monotime"
	"github.com/quic-go/quic-go/internal/protocol"
	"github.com/quic-go/quic-go/internal/utils"
	"github.com/quic-go/quic-go/qlogwriter"
)

// A SendAlgorithm performs congestion control
type SendAlgorithm interface {
	TimeUntilSend(bytesInFlight protocol.ByteCount) monotime.Time
	HasPacingBudget(now monotime.Time) bool
	OnPacketSent(sentTime monotime.Time, bytesInFlight protocol.ByteCount, packetNumber protocol.PacketNumber, bytes protocol.ByteCount, isRetransmittable bool)
	CanSend(bytesInFlight protocol.ByteCount) bool
	MaybeExitSlowStart()
	OnPacketAcked(number protocol.PacketNumber, ackedBytes protocol.ByteCount, priorInFlight protocol.ByteCount, eventTime monotime.Time)
	OnCongestionEvent(number protocol.PacketNumber, lostBytes protocol.ByteCount, priorInFlight protocol.ByteCount)
	OnSpuriousLoss(number protocol.PacketNumber)
	OnRetransmissionTimeout(packetsRetransmitted bool)
	SetMaxDatagramSize(protocol.ByteCount)
	// OnEventProcessed is called once all packets that an ACK frame (or the loss detection timer)
	// acknowledged and declared lost were reported.
	// bytesInFlight doesn't contain these packets any more.
	OnEventProcessed(bytesInFlight protocol.ByteCount, eventTime monotime.Time)
	// OnApplicationLimited is called when the congestion controller would allow sending of a packet,
	// but there's nothing to send.
	OnApplicationLimited(bytesInFlight protocol.ByteCount)
}

// A SendAlgorithmWithDebugInfos is a SendAlgorithm that exposes some debug infos
type SendAlgorithmWithDebugInfos interface {
	SendAlgorithm
	InSlowStart() bool
	InRecovery() bool
	GetCongestionWindow() protocol.ByteCount
}

// Parameters is what a congestion controller is constructed from.
type Parameters struct {
	InitialMaxDatagramSize protocol.ByteCount

	rttStats  *utils.RTTStats
	connStats *utils.ConnectionStats
	qlogger   qlogwriter.Recorder
}

// NewParameters makes new Parameters.
func NewParameters(
	initialMaxDatagramSize protocol.ByteCount,
	rttStats *utils.RTTStats,
	connStats *utils.ConnectionStats,
	qlogger qlogwriter.Recorder,
) Parameters {
	return Parameters{
		InitialMaxDatagramSize: initialMaxDatagramSize,
		rttStats:               rttStats,
		connStats:              connStats,
		qlogger:                qlogger,
	}
}

// LatestRTT returns the most recent RTT measurement.
func (p Parameters) LatestRTT() time.Duration { return p.rttStats.LatestRTT() }

// SmoothedRTT returns the smoothed RTT.
func (p Parameters) SmoothedRTT() time.Duration { return p.rttStats.SmoothedRTT() }

// NewReno makes a New Reno congestion controller.
func NewReno(p Parameters) SendAlgorithmWithDebugInfos {
	return NewCubicSender(DefaultClock{}, p.rttStats, p.connStats, p.InitialMaxDatagramSize, true, p.qlogger)
}

// NewCubicController makes a CUBIC congestion controller.
func NewCubicController(p Parameters) SendAlgorithmWithDebugInfos {
	return NewCubicSender(DefaultClock{}, p.rttStats, p.connStats, p.InitialMaxDatagramSize, false, p.qlogger)
}
