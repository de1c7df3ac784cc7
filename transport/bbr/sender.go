package bbr

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Time is an instant of a monotonic clock: nanoseconds since any instant before the
// connection began.
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

// String returns the draft's name of a state.
func (s state) String() string {
	return [...]string{"Startup", "Drain", "ProbeBW_DOWN", "ProbeBW_CRUISE",
		"ProbeBW_REFILL", "ProbeBW_UP", "ProbeRTT"}[s]
}

// unlimited is the draft's Infinity.
const unlimited = math.MaxInt64

// A Sender is the congestion control of one connection. Sizes are in bytes, rates in
// bytes per second. One goroutine at a time may call its methods.
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

// New returns a Sender for packets of the given size. random spreads the probes of
// several connections over time.
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

// Sent reports that a packet was sent; inflight includes it. The numbers of packets rise.
// The caller does not report packets that are not acknowledged.
func (s *Sender) Sent(now Time, number, size, inflight int64) {
	s.now = now
	if inflight <= size && s.delivery.appLimited != 0 {
		s.restartFromIdle()
	}
	s.pacer.sent(now, s.pacingRate, s.packet, size)
	s.history.add(s.delivery.send(now, number, size, inflight))
}

// Acked reports that a packet was acknowledged. Processed has to follow.
func (s *Sender) Acked(now Time, number int64) {
	s.now = now
	if p, ok := s.history.take(number); ok {
		s.delivery.ack(now, p, &s.current)
	}
}

// Lost reports that a packet counts as lost. Processed has to follow.
func (s *Sender) Lost(number int64) {
	p, ok := s.history.take(number)
	if !ok {
		return
	}
	s.delivery.lost += p.size
	s.noteLoss(p)
}

// CongestionExperienced reports that the path has marked packets (RFC 3168).
func (s *Sender) CongestionExperienced() { s.roundRuns++ }

// SpuriousLoss reports that a packet that counted as lost has arrived.
func (s *Sender) SpuriousLoss() { s.resetShortTerm() }

// AppLimited reports that there is nothing to send although sending is allowed. It has no
// effect while more than the path holds is in flight, as with a stream that waits for the
// receiver's window.
func (s *Sender) AppLimited(inflight int64) {
	if inflight < s.inflightFor(s.bw, max(fullEnough, min(s.pacingGain, fullInStartup))) {
		s.delivery.limited(inflight)
	}
}

// SetPacketSize sets the size of a full packet.
func (s *Sender) SetPacketSize(size int64) { s.packet = size }

// CanSend reports whether the window is larger than what is in flight.
func (s *Sender) CanSend(inflight int64) bool {
	if inflight < s.cwnd {
		return true
	}
	s.cwndLimited = true
	return false
}

// HasBudget reports whether pacing allows a packet now.
func (s *Sender) HasBudget(now Time) bool {
	return s.unpaced() || s.pacer.budget(now, s.pacingRate, s.packet) >= float64(s.packet)
}

// NextSend returns the time from which HasBudget is true.
func (s *Sender) NextSend() Time { return s.pacer.next(s.pacingRate, s.packet) }

// Window returns how many bytes may be in flight.
func (s *Sender) Window() int64 { return s.cwnd }

// Rate returns the pacing rate in bytes per second.
func (s *Sender) Rate() int64 { return s.pacingRate }

// Startup reports whether the Sender is in Startup: it has not found the bandwidth of the
// path yet.
func (s *Sender) Startup() bool { return s.state == startup }

// Processed ends the reports of one acknowledgement or of one loss-detection timer;
// inflight is what is still in flight. It updates the model and the state, then the
// control parameters: section "Per-ACK Steps".
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
