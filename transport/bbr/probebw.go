package bbr

import "time"

const (
	downPacingGain = 0.9
	upPacingGain   = 1.25
	probeCwndGain  = 2.0
	upCwndGain     = 2.25
	headroom       = 0.15 // of the lasting bound, left free for others
	// renoRounds bounds the rounds between two probes, so that flows of Reno and CUBIC
	// get their share: section "Time Scale for Bandwidth Probing".
	renoRounds = 63
)

// An ackPhase says which packets are being acknowledged: those sent before, during or
// after the probe.
type ackPhase uint8

const (
	acksInit ackPhase = iota
	acksRefilling
	acksStarting
	acksFeedback
	acksStopping
)

// A cycle is ProbeBW: down, cruise, refill, up.
type cycle struct {
	phase       ackPhase
	cycleStamp  Time
	probeWait   time.Duration
	sinceProbe  int64 // rounds
	probeSample bool  // what arrives was sent while probing
	upRounds    int
	upAcked     int64
	upPerPacket int64 // so many bytes acknowledged raise the lasting bound by a packet

	prevTooHigh, prevPrecautionary bool // section "Precautionary Bandwidth Probing"
}

func (s *Sender) inProbeBW() bool { return s.state >= probeDown && s.state <= probeUp }

// probing reports whether the Sender sends more than the path's known bandwidth.
func (s *Sender) probing() bool {
	return s.state == startup || s.state == probeRefill || s.state == probeUp
}

func (s *Sender) enterPhase(to state, pacing, cwnd float64) {
	s.state, s.pacingGain, s.cwndGain = to, pacing, cwnd
}

func (s *Sender) startDown() {
	s.resetCongestionSignals()
	s.upPerPacket = unlimited
	s.sinceProbe = s.rand.Int64N(2)
	s.probeWait = 2*time.Second + time.Duration(s.rand.Int64N(int64(time.Second)))
	s.cycleStamp = s.now
	s.phase = acksStopping
	s.startRound()
	s.enterPhase(probeDown, downPacingGain, probeCwndGain)
}

func (s *Sender) startCruise() { s.enterPhase(probeCruise, 1, probeCwndGain) }

func (s *Sender) startRefill() {
	s.resetShortTerm()
	s.upRounds, s.upAcked = 0, 0
	s.prevPrecautionary = false
	s.phase = acksRefilling
	s.startRound()
	s.enterPhase(probeRefill, 1, probeCwndGain)
}

func (s *Sender) startUp(rs *sample) {
	s.phase = acksStarting
	s.startRound()
	s.resetFullBW()
	s.fullBW = rs.rate
	s.enterPhase(probeUp, upPacingGain, upCwndGain)
	s.raiseSlope()
}

// updateCycle is UpdateProbeBWCyclePhase of section "ProbeBW Algorithm Details".
func (s *Sender) updateCycle(rs *sample, inflight int64) {
	if !s.fullBWReached || s.adaptLongTerm(rs) {
		return
	}
	switch s.state {
	case probeDown:
		if !s.timeToProbe() && s.timeToCruise(inflight) {
			s.startCruise()
		}
	case probeCruise:
		s.timeToProbe()
	case probeRefill:
		if s.roundStart {
			s.probeSample = true
			s.startUp(rs)
		}
	case probeUp:
		if s.timeToGoDown(rs, inflight) {
			s.prevTooHigh = false
			s.startDown()
		}
	}
}

// timeToProbe begins a probe if one is due, and reports that.
func (s *Sender) timeToProbe() bool {
	reno := min(s.targetInflight()/s.packet, renoRounds)
	if time.Duration(s.now-s.cycleStamp) <= s.probeWait && s.sinceProbe < reno {
		return false
	}
	s.startRefill()
	return true
}

func (s *Sender) timeToCruise(inflight int64) bool {
	return inflight <= s.withHeadroom() && inflight <= s.inflightFor(s.maxBW.get(), 1)
}

func (s *Sender) timeToGoDown(rs *sample, inflight int64) bool {
	if s.prevTooHigh && inflight >= s.inflightLong {
		s.prevPrecautionary = true
		return true
	}
	if s.isCwndLimited() && s.cwnd >= s.inflightLong {
		s.resetFullBW() // the bandwidth is bounded by inflightLong
		s.fullBW = rs.rate
		return false
	}
	return s.fullBWNow
}

// withHeadroom returns the long-term bound minus the headroom for other flows.
func (s *Sender) withHeadroom() int64 {
	if s.inflightLong == unlimited {
		return unlimited
	}
	free := max(s.packet, int64(headroom*float64(s.inflightLong)))
	return max(s.inflightLong-free, minWindow*s.packet)
}

// raiseSlope makes the long-term bound grow by twice as many packets in this round as in
// the last one.
func (s *Sender) raiseSlope() {
	growth := int64(1) << s.upRounds
	s.upRounds = min(s.upRounds+1, 30)
	s.upPerPacket = max(s.cwnd/growth, s.packet)
}

func (s *Sender) probeInflightUpward(rs *sample) {
	if !s.isCwndLimited() || s.cwnd < s.inflightLong {
		return
	}
	s.upAcked += rs.newlyAcked
	if s.upAcked >= s.upPerPacket {
		delta := s.upAcked / s.upPerPacket
		s.upAcked -= delta * s.upPerPacket
		s.inflightLong += delta * s.packet
	}
	if s.roundStart {
		s.raiseSlope()
	}
}

// adaptLongTerm raises the long-term bound and ends cycles. It reports whether the state
// has changed.
func (s *Sender) adaptLongTerm(rs *sample) bool {
	if s.phase == acksStarting && s.roundStart {
		s.phase = acksFeedback
	}
	if s.phase == acksStopping && s.roundStart {
		s.probeSample = false
		s.phase = acksInit
		if s.inProbeBW() && !rs.newest.appLimited {
			s.maxBW.advance()
		}
		if s.inProbeBW() && s.prevPrecautionary && !s.prevTooHigh {
			s.startRefill()
			return true
		}
	}
	if s.inflightLong == unlimited || tooHigh(rs.lost, rs.newest.inflight, s.roundRuns) {
		return false
	}
	s.inflightLong = max(s.inflightLong, rs.newest.inflight)
	if s.state == probeUp {
		s.probeInflightUpward(rs)
	}
	return false
}
