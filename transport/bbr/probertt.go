package bbr

import "time"

const (
	// how long a minimum is valid; then ProbeRTT measures it again
	minRTTFilter     = 10 * time.Second
	probeRTTDuration = 200 * time.Millisecond
	probeRTTCwndGain = 0.5
	// After longerRounds round trips in a row of more than longerPath times the minimum,
	// the path may be another one. ProbeRTT finds out, at most once in longerEvery.
	longerPath   = 4
	longerRounds = 3
	longerEvery  = 5 * time.Second // more than from one probe for bandwidth to the next
)

// An rttProbe is the state of ProbeRTT, which empties the queue to measure the round trip
// without it.
type rttProbe struct {
	rttExpired  bool
	idleRestart bool
	probeWindow int64 // BBR.probe_rtt_cwnd
	priorCwnd   int64
	doneStamp   Time // 0: the queue is not yet empty
	roundDone   bool

	roundRTT  time.Duration // the least of this round; 0: none yet
	longer    int           // rounds in a row
	probedAt  Time
	beforeRTT time.Duration // the minimum before that
	beforeBW  int64         // what arrived before; 0: ProbeRTT has another reason
}

// seemsLonger reports whether a longer path may be under the connection. The sender's own
// queue makes a round trip two or three times as long as the minimum at most, because the
// window is a multiple of that. If the bandwidth has dropped, the queue is longer; only
// ProbeRTT can tell the two cases apart.
func (s *Sender) seemsLonger(rs *sample) bool {
	if s.roundStart {
		if s.roundRTT > longerPath*max(s.minRTT, bdpRTT) {
			s.longer++
		} else {
			s.longer = 0
		}
		s.roundRTT = 0
	}
	if s.roundRTT == 0 || rs.rtt < s.roundRTT {
		s.roundRTT = rs.rtt
	}
	return s.longer >= longerRounds && time.Duration(s.now-s.probedAt) > longerEvery
}

func (s *Sender) updateMinRTT(rs *sample) {
	longer := s.state != probeRTT && s.seemsLonger(rs)
	if longer {
		s.beforeRTT, s.beforeBW = s.minRTT, s.bwLatest
	}
	s.rttExpired = s.measured && (longer ||
		time.Duration(s.now-s.rttStamp) > minRTTFilter)
	if s.rttExpired && s.state != probeRTT {
		// By the old minimum: the next sample has the queue in it. And by what arrives
		// now: the bandwidth may have dropped.
		s.probeWindow = max(s.inflightFor(min(s.bw, s.bwLatest), probeRTTCwndGain),
			minWindow*s.packet)
	}
	if rs.rtt < s.minRTT || s.rttExpired {
		s.minRTT, s.rttStamp = rs.rtt, s.now
	}
}

func (s *Sender) checkProbeRTT(rs *sample, inflight int64) {
	if s.state != probeRTT && s.rttExpired && !s.idleRestart {
		s.enterPhase(probeRTT, 1, probeRTTCwndGain)
		s.priorCwnd = s.cwnd
		s.doneStamp, s.longer, s.probedAt = 0, 0, s.now
		s.phase = acksStopping
		s.startRound()
	}
	if s.state == probeRTT {
		s.handleProbeRTT(inflight)
	}
	if rs.delivered > 0 {
		s.idleRestart = false
	}
}

func (s *Sender) handleProbeRTT(inflight int64) {
	s.delivery.limited(inflight) // the rates of now say nothing
	switch {
	case s.doneStamp == 0 && inflight <= s.probeWindow:
		s.doneStamp = s.now + Time(probeRTTDuration)
		s.roundDone = false
		s.startRound()
	case s.doneStamp != 0:
		s.roundDone = s.roundDone || s.roundStart
		if s.roundDone {
			s.checkProbeRTTDone()
		}
	}
}

func (s *Sender) checkProbeRTTDone() {
	if s.doneStamp == 0 || s.now <= s.doneStamp {
		return
	}
	s.rttStamp = s.now
	s.cwnd = max(s.cwnd, s.priorCwnd)
	s.resetShortTerm()
	// no longer path: a slower one
	if s.beforeBW != 0 && s.minRTT < 2*max(s.beforeRTT, bdpRTT) {
		s.bwShort = s.beforeBW
	}
	s.beforeBW = 0
	if s.fullBWReached {
		s.startDown()
		s.startCruise()
	} else {
		s.enterStartup()
	}
}

// restartFromIdle is HandleRestartFromIdle: section "Restarting From Idle".
func (s *Sender) restartFromIdle() {
	s.idleRestart = true
	s.extraStart = s.now
	if s.inProbeBW() {
		s.setPacingRate(1)
	} else if s.state == probeRTT {
		s.checkProbeRTTDone()
	}
}
