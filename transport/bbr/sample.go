package bbr

import "time"

// A sent is a sent packet with the state at the time of sending: sections "Per-packet (P)
// State" and "Delivery Rate Sampling Algorithm" of the draft.
type sent struct {
	number        int64 // -1: the place is free
	size          int64
	at            Time
	firstSent     Time  // when the flight began that this packet belongs to
	delivered     int64 // C.delivered at that time
	deliveredTime Time
	inflight      int64 // with this packet
	lost          int64 // C.lost
	appLimited    bool
}

// A history has the sent packets until they are acknowledged or lost, by number. Numbers
// rise with few gaps, so it is a ring, as large as the span of the packets in flight has
// been.
type history struct {
	ring []sent // its length is a power of two
	held int64  // bytes of the packets in it
}

const historyStart = 64

func newHistory() history {
	h := history{ring: make([]sent, historyStart)}
	for i := range h.ring {
		h.ring[i].number = -1
	}
	return h
}

// maxHistory bounds the ring: quic-go has at most 25,000 packets under way.
const maxHistory = 1 << 15

// add adds a packet. Some packets are neither acknowledged nor lost, such as those of a
// handshake and probes for a larger packet size. add overwrites them when the ring has
// more bytes than are in flight.
func (h *history) add(p sent) {
	h.held += p.size
	for {
		place := &h.ring[p.number&int64(len(h.ring)-1)]
		if place.number < 0 {
			*place = p
			return
		}
		if place.size <= h.held-p.inflight || len(h.ring) == maxHistory {
			h.held -= place.size
			*place = p
			return
		}
		h.grow()
	}
}

func (h *history) grow() {
	old := h.ring
	h.ring = make([]sent, 2*len(old))
	for i := range h.ring {
		h.ring[i].number = -1
	}
	for _, p := range old {
		if p.number >= 0 {
			h.ring[p.number&int64(len(h.ring)-1)] = p
		}
	}
}

// take removes a packet and returns it.
func (h *history) take(number int64) (sent, bool) {
	place := &h.ring[number&int64(len(h.ring)-1)]
	if place.number != number || number < 0 {
		return sent{}, false
	}
	p := *place
	h.held -= p.size
	place.number = -1
	return p, true
}

// A sample is what the acknowledgements of one received packet say about the path: the
// draft's RS.
type sample struct {
	ok         bool  // there is a packet that was newly acknowledged
	newlyAcked int64 // bytes
	newest     sent  // the packet that was sent last, of those
	delivered  int64 // between the acknowledgement before that packet left, and now
	interval   time.Duration
	rate       int64 // bytes per second; 0: the interval was too short to tell
	rtt        time.Duration
	lost       int64 // between when newest left and now
}

// A delivery counts the delivered bytes: the draft's C.
type delivery struct {
	total     int64 // bytes delivered
	time      Time  // of the last delivery
	firstSent Time
	lost      int64
	// appLimited, if not 0, is the value of total when the last packet arrives that was
	// sent while there was too little to send.
	appLimited int64
}

// send returns the state of a packet that is sent now.
func (d *delivery) send(now Time, number, size, inflight int64) sent {
	if inflight <= size { // nothing else is under way
		d.firstSent, d.time = now, now
	}
	return sent{
		number: number, size: size, at: now, firstSent: d.firstSent, delivered: d.total,
		deliveredTime: d.time,
		inflight:      inflight, lost: d.lost, appLimited: d.appLimited != 0,
	}
}

// ack adds an acknowledged packet to a sample.
func (d *delivery) ack(now Time, p sent, s *sample) {
	d.total += p.size
	d.time = now
	s.newlyAcked += p.size
	if s.ok && p.number < s.newest.number {
		return
	}
	s.ok, s.newest = true, p
	d.firstSent = p.at
}

// finish completes a sample (GenerateRateSample). shortest is the shortest interval from
// which to compute a rate, the minimal round trip: acknowledgements that arrive at once
// would show any rate.
func (d *delivery) finish(now Time, s *sample, shortest time.Duration) {
	if d.appLimited != 0 && d.total > d.appLimited {
		d.appLimited = 0
	}
	if !s.ok {
		return
	}
	p := s.newest
	s.delivered = d.total - p.delivered
	s.interval = max(time.Duration(p.at-p.firstSent), time.Duration(now-p.deliveredTime))
	s.rtt = time.Duration(now - p.at)
	s.lost = d.lost - p.lost
	if s.interval > 0 && s.interval >= shortest {
		s.rate = perSecond(s.delivered, s.interval)
	}
}

// limited notes that there is too little to send, with inflight bytes in flight.
func (d *delivery) limited(inflight int64) { d.appLimited = max(d.total+inflight, 1) }

func perSecond(bytes int64, in time.Duration) int64 {
	return int64(float64(bytes) * float64(time.Second) / float64(in))
}

// bytesIn returns how many bytes a rate in bytes per second carries in d.
func bytesIn(rate int64, d time.Duration) int64 { return int64(float64(rate) * d.Seconds()) }
