package bbr

import (
	"math/rand/v2"
	"time"
)

// A link is a simulated path: a queue in front of a line, and the way there and back.
// Nothing of it depends on the machine's time or on chance: the same seed gives the same
// run.
type link struct {
	rate   int64 // bytes per second
	delay  time.Duration
	buffer int64   // bytes
	loss   float64 // of packets, or of bursts of them
	burst  int     // packets that are lost together

	random *rand.Rand
	now    Time
	free   Time // when the line has sent what is in the queue
	most   int64
	flows  []*flow
	acks   []arrival // ascending by time
}

func newLink(rate int64, delay time.Duration, buffer int64, loss float64) *link {
	return &link{rate: rate, delay: delay, buffer: buffer, loss: loss, burst: 1,
		random: rand.New(rand.NewPCG(1, 2)), now: Time(time.Hour)}
}

const testPacket = 1250

// A flow sends all that its control lets it, or what limit allows.
type flow struct {
	link      *link
	index     int // in link.flows
	control   control
	next      int64
	inflight  int64
	unacked   []flying // by number, ascending
	delivered int64
	lost      int64
	pause     func(now Time) bool // there is nothing to send
	timer     Time
	dropping  int // packets of a burst that are lost, too
	sumRTT    time.Duration
	acks      int64
}

// flying is a packet under way.
type flying struct {
	number int64
	at     Time
}

// control is a Sender, or what it competes with.
type control interface {
	Sent(now Time, number, size, inflight int64)
	Acked(now Time, number int64)
	Lost(number int64)
	Processed(now Time, inflight int64)
	CanSend(inflight int64) bool
	HasBudget(now Time) bool
	NextSend() Time
	AppLimited(inflight int64)
}

func (l *link) add(c control) *flow {
	f := &flow{link: l, index: len(l.flows), control: c}
	l.flows = append(l.flows, f)
	return f
}

// An arrival is that of an acknowledgement.
type arrival struct {
	at     Time
	flow   int // in link.flows
	number int64
}

// ack schedules an acknowledgement. They come in the order of their packets, unless the
// path has become shorter.
func (l *link) ack(at Time, flow int, number int64) {
	l.acks = append(l.acks, arrival{at, flow, number})
	for i := len(l.acks) - 1; i > 0 && l.acks[i-1].at > at; i-- {
		l.acks[i-1], l.acks[i] = l.acks[i], l.acks[i-1]
	}
}

// timer returns the flow whose timer is due next, nil if none is set.
func (l *link) timer() (due *flow) {
	for _, f := range l.flows {
		if f.timer != 0 && (due == nil || f.timer < due.timer) {
			due = f
		}
	}
	return due
}

// run lets the flows send for so long.
func (l *link) run(d time.Duration) {
	end := l.now + Time(d)
	for _, f := range l.flows {
		f.send()
	}
	for {
		due := l.timer()
		switch {
		case len(l.acks) > 0 && l.acks[0].at <= end &&
			(due == nil || l.acks[0].at <= due.timer):
			a := l.acks[0]
			l.acks = l.acks[1:]
			l.now = a.at
			l.flows[a.flow].acked(a.number)
			l.flows[a.flow].send()
		case due != nil && due.timer <= end:
			l.now = due.timer
			due.timer = 0
			due.send()
		default:
			l.now = end
			return
		}
	}
}

// queue is how many bytes wait.
func (l *link) queue() int64 { return bytesIn(l.rate, time.Duration(max(l.free-l.now, 0))) }

// send puts a packet on the link; false: it is lost.
func (l *link) send(f *flow) (arrives Time, ok bool) {
	if f.dropping > 0 {
		f.dropping--
		return 0, false
	}
	if l.random.Float64() < l.loss {
		f.dropping = l.burst - 1
		return 0, false
	}
	if l.queue()+testPacket > l.buffer {
		return 0, false
	}
	l.free = max(l.free, l.now) + Time(float64(testPacket)/float64(l.rate)*1e9)
	l.most = max(l.most, l.queue())
	return l.free + Time(2*l.delay), true
}

// poll is when a flow that has nothing to send looks again.
const poll = time.Millisecond

func (f *flow) send() {
	l := f.link
	for f.control.CanSend(f.inflight) {
		if f.pause != nil && f.pause(l.now) {
			f.control.AppLimited(f.inflight)
			f.wake(l.now + Time(poll))
			return
		}
		if !f.control.HasBudget(l.now) {
			f.wake(max(f.control.NextSend(), l.now+1))
			return
		}
		number := f.next
		f.next++
		f.inflight += testPacket
		f.control.Sent(l.now, number, testPacket, f.inflight)
		f.unacked = append(f.unacked, flying{number, l.now})
		if at, ok := l.send(f); ok {
			l.ack(at, f.index, number)
		}
	}
	// A retransmission timer: whatever is lost at the end is noticed.
	f.wake(l.now + Time(200*time.Millisecond))
}

func (f *flow) wake(at Time) {
	if f.timer == 0 || at < f.timer {
		f.timer = at
	}
}

// acked takes in an acknowledgement; packets that are three behind it are lost (RFC 9002
// section 6.1.1).
func (f *flow) acked(number int64) {
	for i := 0; i < len(f.unacked) && f.unacked[i].number <= number; i++ {
		p := f.unacked[i]
		switch {
		case p.number == number:
			f.inflight -= testPacket
			f.delivered += testPacket
			f.control.Acked(f.link.now, p.number)
			f.sumRTT += time.Duration(f.link.now - p.at)
			f.acks++
		case p.number <= number-3:
			f.inflight -= testPacket
			f.lost += testPacket
			f.control.Lost(p.number)
		default: // late, not yet lost
			continue
		}
		// The packets before it, two at most, are late: they move into its place.
		copy(f.unacked[1:i+1], f.unacked[:i])
		f.unacked = f.unacked[1:]
		i--
	}
	f.control.Processed(f.link.now, f.inflight)
}

// measure runs for d and returns the share of the rate that each flow had, and the flow's
// mean round trip.
func (l *link) measure(d time.Duration) (shares []float64, rtt time.Duration) {
	before := make([]int64, len(l.flows))
	for i, f := range l.flows {
		before[i] = f.delivered
		f.sumRTT, f.acks = 0, 0
	}
	l.most = 0
	l.run(d)
	for i, f := range l.flows {
		shares = append(shares, float64(f.delivered-before[i])/float64(bytesIn(l.rate, d)))
	}
	return shares, l.flows[0].sumRTT / time.Duration(max(l.flows[0].acks, 1))
}

// reno is New Reno (RFC 9002 section 7) with pacing off: what a Sender shares links with.
type reno struct {
	cwnd, threshold int64
	largest, cut    int64
}

func newReno() *reno { return &reno{cwnd: 10 * testPacket, threshold: unlimited, cut: -1} }

func (r *reno) Sent(_ Time, number, _, _ int64) { r.largest = number }
func (r *reno) Acked(_ Time, number int64) {
	switch {
	case number <= r.cut:
	case r.cwnd < r.threshold:
		r.cwnd += testPacket
	default:
		r.cwnd += testPacket * testPacket / r.cwnd
	}
}
func (r *reno) Lost(number int64) {
	if number > r.cut {
		r.cut = r.largest
		r.cwnd = max(r.cwnd/2, 2*testPacket)
		r.threshold = r.cwnd
	}
}
func (r *reno) Processed(Time, int64)       {}
func (r *reno) CanSend(inflight int64) bool { return inflight < r.cwnd }
func (r *reno) HasBudget(Time) bool         { return true }
func (r *reno) NextSend() Time              { return 0 }
func (r *reno) AppLimited(int64)            {}
