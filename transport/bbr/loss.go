package bbr

import "math"

const (
	// of a round trip's bytes: more is the sign of a full queue, BBR.LossThresh
	lossThreshold = 0.02
	beta          = 0.7 // no bound falls to less at once: BBR.Beta
)

// losses counts what was lost in the current round trip.
type losses struct {
	lossRoundStart     bool
	lossRoundDelivered int64
	lossRoundLost      int64 // delivery.lost when the round began
	lossRoundTotal     int64 // delivery.total then
	roundRuns          int   // runs of neighbouring packets that were lost
	lastLost           int64 // the number of a packet
}

// tooHigh reports whether the losses of a round trip show that a queue is full:
// BBRIsInflightTooHigh. One drop can take a whole burst, and few packets may be in
// flight. So tooHigh asks for more drops than a loss rate at the threshold has by chance,
// by a standard deviation and one more, or for more losses than any bound falls by. With
// 1 % of random loss and 200 packets in flight, one round trip in twenty loses more than
// 2 %, but for one in a thousand tooHigh is true.
func tooHigh(lost, of int64, runs int) bool {
	share := float64(lost) / float64(max(of, 1))
	if share <= lossThreshold {
		return false
	}
	expected := lossThreshold / share * float64(runs)
	return float64(runs) > expected+math.Sqrt(expected)+1 || share > 1-beta
}

// highLoss reports whether the round trip that ends has lost too much: see tooHigh.
func (s *Sender) highLoss(runs int) bool {
	lost := s.delivery.lost - s.lossRoundLost
	of := lost + s.delivery.total - s.lossRoundTotal
	return tooHigh(lost, of, s.roundRuns) &&
		(s.roundRuns >= runs || float64(lost) > (1-beta)*float64(of))
}

// noteLoss is BBRHandleLostPacket: section "Probing for Bandwidth In ProbeBW".
func (s *Sender) noteLoss(p sent) {
	if p.number != s.lastLost+1 {
		s.roundRuns++
	}
	s.lastLost = p.number
	lost := s.delivery.lost - p.lost
	if !s.probeSample || !tooHigh(lost, p.inflight, s.roundRuns) {
		return
	}
	s.prevTooHigh = true
	s.probeSample = false // one answer to a probe
	if !p.appLimited {
		s.inflightLong = max(inflightAtLoss(p, lost),
			int64(beta*float64(s.targetInflight())))
	}
	if s.state == probeUp {
		s.startDown()
	}
}

// inflightAtLoss returns how many bytes were in flight when the losses exceeded the
// threshold, somewhere within packet p.
func inflightAtLoss(p sent, lost int64) int64 {
	before := float64(p.inflight - p.size)
	prefix := (lossThreshold*before - float64(lost-p.size)) / (1 - lossThreshold)
	return int64(before + max(prefix, 0))
}

func (s *Sender) resetCongestionSignals() {
	s.beginLossRound()
	s.bwLatest, s.inflightLatest = 0, 0
}

func (s *Sender) beginLossRound() {
	s.roundRuns = 0
	s.lossRoundLost, s.lossRoundTotal = s.delivery.lost, s.delivery.total
}

func (s *Sender) resetShortTerm() { s.bwShort, s.inflightShort = unlimited, unlimited }

// updateLatest notes the sample's bandwidth and delivery. It is called before the model
// is updated.
func (s *Sender) updateLatest(rs *sample) {
	s.lossRoundStart = false
	s.bwLatest = max(s.bwLatest, rs.rate)
	s.inflightLatest = max(s.inflightLatest, rs.delivered)
	if rs.newest.delivered >= s.lossRoundDelivered {
		s.lossRoundDelivered = s.delivery.total
		s.lossRoundStart = true
	}
}

// advanceLatest begins the next round trip. It is called after the model is updated.
func (s *Sender) advanceLatest(rs *sample) {
	if s.lossRoundStart {
		s.beginLossRound()
		s.bwLatest, s.inflightLatest = rs.rate, rs.delivered
	}
}

// updateCongestionSignals lowers the short-term bounds after losses above the threshold:
// section "When not Probing for Bandwidth".
func (s *Sender) updateCongestionSignals(rs *sample) {
	if rs.rate >= s.maxBW.get() || !rs.newest.appLimited {
		s.maxBW.note(rs.rate)
	}
	if !s.lossRoundStart || s.probing() || !s.highLoss(1) {
		return
	}
	if s.bwShort == unlimited {
		s.bwShort = s.maxBW.get()
	}
	if s.inflightShort == unlimited {
		s.inflightShort = s.cwnd
	}
	s.bwShort = max(s.bwLatest, int64(beta*float64(s.bwShort)))
	s.inflightShort = max(s.inflightLatest, int64(beta*float64(s.inflightShort)))
}
