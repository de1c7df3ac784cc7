//go:build quicpatched

package transport

import (
	"math/rand/v2"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport/bbr"
)

// controller makes the congestion control of a connection.
func (c Congestion) controller(p quic.CongestionParameters) quic.CongestionController {
	switch c {
	case BBR:
		random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		return &bbrController{Sender: bbr.New(int64(p.InitialMaxDatagramSize), random)}
	case CUBIC:
		return quic.NewCubic(p)
	default:
		return quic.NewReno(p)
	}
}

// bbrController is a bbr.Sender as quic-go wants it.
type bbrController struct {
	*bbr.Sender
}

var _ quic.CongestionController = (*bbrController)(nil)

// TimeUntilSend implements quic.CongestionController.
func (c *bbrController) TimeUntilSend(quic.ByteCount) quic.MonotonicTime {
	return quic.MonotonicTime(c.NextSend())
}

// HasPacingBudget implements quic.CongestionController.
func (c *bbrController) HasPacingBudget(now quic.MonotonicTime) bool {
	return c.HasBudget(bbr.Time(now))
}

// OnPacketSent implements quic.CongestionController. Packets of acknowledgements only are
// neither paced nor answered.
func (c *bbrController) OnPacketSent(now quic.MonotonicTime, inflight quic.ByteCount,
	n quic.PacketNumber, size quic.ByteCount, eliciting bool) {
	if eliciting {
		c.Sent(bbr.Time(now), int64(n), int64(size), int64(inflight))
	}
}

// CanSend implements quic.CongestionController.
func (c *bbrController) CanSend(inflight quic.ByteCount) bool {
	return c.Sender.CanSend(int64(inflight))
}

// OnPacketAcked implements quic.CongestionController.
func (c *bbrController) OnPacketAcked(n quic.PacketNumber, _, _ quic.ByteCount,
	now quic.MonotonicTime) {
	c.Acked(bbr.Time(now), int64(n))
}

// OnCongestionEvent implements quic.CongestionController. A packet without bytes was
// marked, not lost.
func (c *bbrController) OnCongestionEvent(n quic.PacketNumber, lost, _ quic.ByteCount) {
	if lost == 0 {
		c.CongestionExperienced()
	} else {
		c.Lost(int64(n))
	}
}

// OnEventProcessed implements quic.CongestionController.
func (c *bbrController) OnEventProcessed(inflight quic.ByteCount,
	now quic.MonotonicTime) {
	c.Processed(bbr.Time(now), int64(inflight))
}

// OnApplicationLimited implements quic.CongestionController.
func (c *bbrController) OnApplicationLimited(inflight quic.ByteCount) { c.AppLimited(int64(inflight)) }

// OnSpuriousLoss implements quic.CongestionController.
func (c *bbrController) OnSpuriousLoss(quic.PacketNumber) { c.SpuriousLoss() }

// SetMaxDatagramSize implements quic.CongestionController.
func (c *bbrController) SetMaxDatagramSize(size quic.ByteCount) { c.SetPacketSize(int64(size)) }

// MaybeExitSlowStart implements quic.CongestionController: that is what the model is for.
func (c *bbrController) MaybeExitSlowStart() {}

// OnRetransmissionTimeout implements quic.CongestionController; quic-go does not call it.
func (c *bbrController) OnRetransmissionTimeout(bool) {}

// InSlowStart implements quic.CongestionController, for qlog.
func (c *bbrController) InSlowStart() bool { return c.Startup() }

// InRecovery implements quic.CongestionController, for qlog.
func (c *bbrController) InRecovery() bool { return false }

// GetCongestionWindow implements quic.CongestionController.
func (c *bbrController) GetCongestionWindow() quic.ByteCount { return quic.ByteCount(c.Window()) }
