package bbr

import "time"

// rounds counts round trips by packets: section "BBR.round_count: Tracking Packet-Timed
// Round Trips".
type rounds struct {
	round      int64
	roundStart bool
	// a packet that leaves when so much has arrived is of the next round
	nextDelivered int64

	cwndLimited, cwndLimitedBefore bool // in this round, in the last one
}

func (s *Sender) startRound() { s.nextDelivered = s.delivery.total }

func (s *Sender) updateRound(rs *sample) {
	s.roundStart = rs.newest.delivered >= s.nextDelivered
	if s.roundStart {
		s.startRound()
		s.round++
		s.sinceProbe++
		s.cwndLimitedBefore, s.cwndLimited = s.cwndLimited, false
	}
}

func (s *Sender) isCwndLimited() bool { return s.cwndLimited || s.cwndLimitedBefore }

// A model has the estimates of the path.
type model struct {
	maxBW    cycleMax
	bw       int64         // the bandwidth to use: BBR.bw
	minRTT   time.Duration // of the last ten seconds
	rttStamp Time

	// Bounds by loss: of this cycle (BBR.bw_shortterm, BBR.inflight_shortterm), and
	// lasting (BBR.inflight_longterm).
	bwShort, inflightShort, inflightLong int64
	// The maxima of the last round trip.
	bwLatest, inflightLatest int64
}

// bdpRTT is the shortest round trip for which the window is computed: see the package
// comment. With 1 ms and pacing, boxer's nodes sent 0.9 Gbit/s over a path without delay
// between two busy processors, and 3.6 Gbit/s with Reno. docs/performance.md has the
// current figures.
const bdpRTT = 4 * timerGranularity

// inflightFor returns gain times the product of a bandwidth and the round trip, in bytes:
// BBRBDPMultiple.
func (s *Sender) inflightFor(bw int64, gain float64) int64 {
	if !s.measured || bw == 0 {
		return int64(gain * float64(initialWindow*s.packet))
	}
	return int64(gain * float64(bytesIn(bw, max(s.minRTT, bdpRTT))))
}

// targetInflight returns the estimated product of bandwidth and round trip, at most the
// window, in bytes.
func (s *Sender) targetInflight() int64 { return min(s.inflightFor(s.bw, 1), s.cwnd) }

// aggregation estimates how many bytes are acknowledged at once: section
// "BBR.extra_acked".
type aggregation struct {
	extraAcked     int64
	extraFilter    roundMax
	extraStart     Time
	extraDelivered int64
}

func (s *Sender) updateAckAggregation(rs *sample) {
	expected := bytesIn(s.bw, time.Duration(s.now-s.extraStart))
	if s.extraDelivered <= expected {
		s.extraDelivered, s.extraStart, expected = 0, s.now, 0
	}
	s.extraDelivered += rs.newlyAcked
	extra := min(s.extraDelivered-expected, s.cwnd)
	length := int64(1) // in Startup
	if s.fullBWReached {
		length = extraAckedRounds
	}
	s.extraAcked = s.extraFilter.note(s.round, extra, length)
}
