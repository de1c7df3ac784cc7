package bbr

import "time"

const (
	initialWindow = 32 // packets, as quic-go's Reno
	minWindow     = 4  // packets: BBR.MinPipeCwnd
	pacingMargin  = 0.99
	maxQuantum    = 64 << 10 // bytes: what the kernel segments at once at most
	// products of bandwidth and delay under way, with which a path is in use
	fullEnough    = 1.1
	fullInStartup = 1.5
)

func (s *Sender) updateControl(rs *sample) {
	if !s.measured && rs.rtt > 0 { // the first round trip
		s.measured = true
		s.pacingRate = int64(startupPacingGain * float64(perSecond(s.cwnd,
			max(rs.rtt, time.Microsecond))))
	}
	s.setPacingRate(s.pacingGain)
	s.setCwnd(rs)
}

// setPacingRate is SetPacingRateWithGain: until the path is known to be full, the rate
// only rises.
func (s *Sender) setPacingRate(gain float64) {
	rate := int64(gain * float64(s.bw) * pacingMargin)
	if rate > 0 && (s.fullBWReached || rate > s.pacingRate) {
		s.pacingRate = max(rate, perSecond(s.packet, time.Second))
	}
}

// unpaced reports whether the round trip is shorter than a timer can measure. Then only
// the window limits how much is sent at once.
func (s *Sender) unpaced() bool { return s.minRTT < timerGranularity }

// quantum is how many bytes may be sent at once: section "Send Quantum".
func (s *Sender) quantum() int64 {
	return min(max(bytesIn(s.pacingRate, timerGranularity), 2*s.packet), maxQuantum)
}

// maxInflight is BBR.max_inflight: the window that the model wants.
func (s *Sender) maxInflight() int64 {
	want := s.inflightFor(s.bw, s.cwndGain) + s.extraAcked
	want = max(want, 3*s.quantum(), minWindow*s.packet)
	if s.state == probeUp {
		want += 2 * s.packet
	}
	return want
}

// setCwnd is that of section "Congestion Window".
func (s *Sender) setCwnd(rs *sample) {
	most := s.maxInflight()
	switch {
	case s.fullBWReached:
		s.cwnd = min(s.cwnd+rs.newlyAcked, most)
	case s.cwnd < most || s.delivery.total < initialWindow*s.packet:
		s.cwnd += rs.newlyAcked
	}
	s.cwnd = max(s.cwnd, minWindow*s.packet)
	if s.state == probeRTT {
		s.cwnd = min(s.cwnd, s.probeWindow)
	}
	s.boundCwnd()
}

// boundCwnd is BoundCwndForModel.
func (s *Sender) boundCwnd() {
	bound := int64(unlimited)
	switch s.state {
	case probeDown, probeRefill, probeUp, drain:
		bound = s.inflightLong
	case probeCruise, probeRTT:
		bound = s.withHeadroom()
	case startup:
		return
	}
	bound = min(bound, s.inflightShort)
	s.cwnd = min(s.cwnd, max(bound, minWindow*s.packet))
}
