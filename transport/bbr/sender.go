package bbr

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Time is an instant: nanoseconds since any moment before the connection, on a clock
// that does not jump.
type Time int64

type state uint8

const (
	startup state = iota
	drain
	probeDown
	probeCruise
	probeRefill
	probeUp
	probeRTT
)

// String names a state as the draft does.
func (s state) String() string {
	return [...]string{"Startup", "Drain", "ProbeBW_DOWN", "ProbeBW_CRUISE",
		"ProbeBW_REFILL", "ProbeBW_UP", "ProbeRTT"}[s]
}

// unlimited is the draft's Infinity.
const unlimited = math.MaxInt64

// A Sender is the congestion control of one connection on one path. All sizes are in
// bytes, as they count for what is under way, and rates in bytes per second. It is used
// from one goroutine.
type Sender struct {
	packet int64 // the size of a full one: the draft's SMSS
	rand   *rand.Rand
	now    Time

	history  history
	delivery delivery
	current  sample // of the event that is being reported
	pacer    pacer

	state      state
	pacingGain float64
	cwndGain   float64
	cwnd       int64
	pacingRate int64
	measured   bool // there has been a round trip

	rounds
	model
	fullPipe
	cycle
	rttProbe
	losses
	aggregation
}

// New returns a Sender for packets of the given size. random serves to spread the probes
// of several connections.
func New(packet int64, random *rand.Rand) *Sender {
	s := &Sender{packet: packet, rand: random, history: newHistory()}
	s.lastLost = -2 // no neighbour of packet 0
	s.cwnd = initialWindow * packet
	s.model = model{minRTT: math.MaxInt64, bwShort: unlimited, inflightShort: unlimited,
		inflightLong: unlimited}
	s.enterStartup()
	// Before the first round trip is known: section "Pacing Rate", BBRInitPacingRate.
	s.pacingRate = int64(startupPacingGain * float64(perSecond(s.cwnd, time.Millisecond)))
	return s
}

// Sent tells that a packet has left, with what is under way including it. Packets have
// rising numbers. Those that ask for no acknowledgement are not told.
func (s *Sender) Sent(now Time, number, size, inflight int64) {
	s.now = now
	if inflight <= size && s.delivery.appLimited != 0 {
		s.restartFromIdle()
	}
	s.pacer.sent(now, s.pacingRate, s.packet, size)
	s.history.add(s.delivery.send(now, number, size, inflight))
}

// Acked tells that a packet has been acknowledged. Processed has to follow.
func (s *Sender) Acked(now Time, number int64) {
	s.now = now
	if p, ok := s.history.take(number); ok {
		s.delivery.ack(now, p, &s.current)
	}
}

// Lost tells that a packet is deemed lost. Processed has to follow.
func (s *Sender) Lost(number int64) {
	p, ok := s.history.take(number)
	if !ok {
		return
	}
	s.delivery.lost += p.size
	s.noteLoss(p)
}

// CongestionExperienced tells that the path has marked packets (RFC 3168).
func (s *Sender) CongestionExperienced() { s.roundRuns++ }

// SpuriousLoss tells that a packet that was deemed lost has arrived after all.
func (s *Sender) SpuriousLoss() { s.resetShortTerm() }

// AppLimited tells that there is nothing to send although sending is allowed. While more
// than the path holds is under way that does not matter: such is a stream that waits for
// the receiver's window.
func (s *Sender) AppLimited(inflight int64) {
	if inflight < s.inflightFor(s.bw, max(fullEnough, min(s.pacingGain, fullInStartup))) {
		s.delivery.limited(inflight)
	}
}

// SetPacketSize tells how large a full packet is from now on.
func (s *Sender) SetPacketSize(size int64) { s.packet = size }

// CanSend says whether the window has room for more than what is under way.
func (s *Sender) CanSend(inflight int64) bool {
	if inflight < s.cwnd {
		return true
	}
	s.cwndLimited = true
	return false
}

// HasBudget says whether a packet may leave now without being ahead of the rate.
func (s *Sender) HasBudget(now Time) bool {
	return s.unpaced() || s.pacer.budget(now, s.pacingRate, s.packet) >= float64(s.packet)
}

// NextSend is the time from which HasBudget holds.
func (s *Sender) NextSend() Time { return s.pacer.next(s.pacingRate, s.packet) }

// Window is how much may be under way.
func (s *Sender) Window() int64 { return s.cwnd }

// Rate is how fast packets leave, in bytes per second.
func (s *Sender) Rate() int64 { return s.pacingRate }

// Startup says whether the capacity of the path is still being searched for the first
// time.
func (s *Sender) Startup() bool { return s.state == startup }

// Processed ends what one acknowledgement, or a timer of loss detection, had to report;
// inflight is what is still under way. Section "Per-ACK Steps": update the model and the
// state, then the control parameters.
func (s *Sender) Processed(now Time, inflight int64) {
	s.now = now
	rs := &s.current
	s.delivery.finish(now, rs, min(s.minRTT, time.Second))
	if rs.ok {
		s.updateModelAndState(rs, inflight)
		s.updateControl(rs)
	}
	s.current = sample{}
}

func (s *Sender) updateModelAndState(rs *sample, inflight int64) {
	s.updateRound(rs)
	s.updateLatest(rs)
	s.updateCongestionSignals(rs)
	s.updateAckAggregation(rs)
	s.checkFullPipe(rs)
	s.checkStartupDone()
	s.checkDrainDone(inflight)
	s.updateCycle(rs, inflight)
	s.updateMinRTT(rs)
	s.checkProbeRTT(rs, inflight)
	s.advanceLatest(rs)
	s.bw = min(s.maxBW.get(), s.bwShort)
}
