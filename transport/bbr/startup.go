package bbr

const (
	startupPacingGain = 2.77 // 4 ln 2: section "Startup"
	startupCwndGain   = 2.0
	drainPacingGain   = 0.5
	// The path is full if the bandwidth has not grown by this factor in fullBWRounds
	// rounds.
	fullBWGrowth = 1.25
	fullBWRounds = 3
	// startupLossRuns is how many drops in a round end Startup, if the losses exceed the
	// threshold, too: BBRStartupFullLossCnt.
	startupLossRuns = 6
)

// A fullPipe finds out when a higher rate does not deliver more: section "Exiting
// Acceleration Based on Bandwidth Plateau".
type fullPipe struct {
	fullBW        int64
	fullBWCount   int
	fullBWNow     bool // in this acceleration
	fullBWReached bool // once
}

func (s *Sender) enterStartup() {
	s.state, s.pacingGain, s.cwndGain = startup, startupPacingGain, startupCwndGain
}

func (s *Sender) resetFullBW() { s.fullBW, s.fullBWCount, s.fullBWNow = 0, 0, false }

func (s *Sender) checkFullPipe(rs *sample) {
	if s.fullBWNow || rs.newest.appLimited {
		return
	}
	if float64(rs.rate) >= float64(s.fullBW)*fullBWGrowth {
		s.resetFullBW()
		s.fullBW = rs.rate
		return
	}
	if !s.roundStart {
		return
	}
	s.fullBWCount++
	if s.fullBWCount >= fullBWRounds {
		s.fullBWNow, s.fullBWReached = true, true
	}
}

func (s *Sender) checkStartupDone() {
	if s.state != startup {
		return
	}
	// Section "Exiting Startup Based on Packet Loss", at the end of a round.
	if s.lossRoundStart && s.highLoss(startupLossRuns) {
		s.fullBWReached = true
		s.inflightLong = max(s.inflightFor(s.maxBW.get(), 1), s.inflightLatest)
	}
	if s.fullBWReached {
		s.state, s.pacingGain, s.cwndGain = drain, drainPacingGain, startupCwndGain
	}
}

func (s *Sender) checkDrainDone(inflight int64) {
	if s.state == drain && inflight <= s.inflightFor(s.maxBW.get(), 1) {
		s.startDown()
	}
}
