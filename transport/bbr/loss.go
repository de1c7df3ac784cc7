package bbr

import "math"

const (
	// of a round trip's bytes: more is the sign of a full queue, BBR.LossThresh
	lossThreshold = 0.02
	beta          = 0.7 // no bound falls to less at once: BBR.Beta
)

// losses are those of the round trip.
type losses struct {
	lossRoundStart     bool
	lossRoundDelivered int64
	lossRoundLost      int64 // delivery.lost when the round began
	lossRoundTotal     int64 // delivery.total then
	roundRuns          int   // runs of neighbouring packets that were lost
	lastLost           int64 // the number of a packet
}

// tooHigh says whether so many losses, of what was sent, are those of a queue that is
// full: BBRIsInflightTooHigh. A drop can take a whole burst, and what is under way may be
// few packets. So there have to be more drops than a rate at the threshold leads to by
// chance, by a standard deviation and one, or more losses than any bound falls by. With 1
// % of loss at random and 200 packets under way, one round trip in twenty has more than 2
// %, and one in a thousand is beyond this.
func tooHigh(lost, of int64, runs int) bool {
	share := float64(lost) / float64(max(of, 1))
	if share <= lossThreshold {
		return false
	}
	expected := lossThreshold / share * float64(runs)
	return float64(runs) > expected+math.Sqrt(expected)+1 || share > 1-beta
}

// highLoss says whether the round that ends had losses beyond the threshold, and from so
// many drops.
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

// inflightAtLoss is how much was under way when the losses went beyond the threshold,
// within packet p.
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

// updateLatest notes what the round trip has shown; before the model is updated.
func (s *Sender) updateLatest(rs *sample) {
	s.lossRoundStart = false
	s.bwLatest = max(s.bwLatest, rs.rate)
	s.inflightLatest = max(s.inflightLatest, rs.delivered)
	if rs.newest.delivered >= s.lossRoundDelivered {
		s.lossRoundDelivered = s.delivery.total
		s.lossRoundStart = true
	}
}

// advanceLatest begins the next round trip; after the model is updated.
func (s *Sender) advanceLatest(rs *sample) {
	if s.lossRoundStart {
		s.beginLossRound()
		s.bwLatest, s.inflightLatest = rs.rate, rs.delivered
	}
}

// updateCongestionSignals is that of section "When not Probing for Bandwidth", for losses
// beyond the threshold.
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
