package bbr

import (
	"math/rand/v2"
	"testing"
	"time"
)

const mbit = 1e6 / 8 // bytes per second

func testSender(seed uint64) *Sender { return New(testPacket, rand.New(rand.NewPCG(seed, 1))) }

// TestFillsLink sends alone over links of many kinds.
func TestFillsLink(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		rate   int64 // Mbit/s
		delay  time.Duration
		buffer float64 // in products of rate and round trip
		loss   float64
		burst  int
		share  float64 // of the rate that arrives, at least
		rtt    float64 // mean, in round trips without a queue, at most
	}{
		{name: "clean", rate: 100, delay: 10 * time.Millisecond, buffer: 4, share: 0.95,
			rtt: 1.3},
		{name: "deep buffer", rate: 100, delay: 10 * time.Millisecond, buffer: 50,
			share: 0.95, rtt: 1.3},
		{name: "shallow buffer", rate: 100, delay: 10 * time.Millisecond, buffer: 0.3,
			share: 0.9, rtt: 1.3},
		{name: "loss", rate: 100, delay: 10 * time.Millisecond, buffer: 2, loss: 0.01,
			share: 0.93, rtt: 1.3},
		{name: "loss of bursts", rate: 600, delay: 10 * time.Millisecond, buffer: 2.5,
			loss: 0.01 / 16, burst: 16, share: 0.93, rtt: 1.3},
		{name: "long", rate: 100, delay: 100 * time.Millisecond, buffer: 1, loss: 0.01,
			share: 0.9, rtt: 1.5},
		{name: "slow", rate: 2, delay: 20 * time.Millisecond, buffer: 4, share: 0.9,
			rtt: 1.8},
		// bdpRTT: twice 4 ms
		{name: "near", rate: 600, delay: 250 * time.Microsecond, buffer: 100, share: 0.9,
			rtt: 17},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rate := int64(float64(tc.rate) * mbit)
			l := newLink(rate, tc.delay,
				int64(tc.buffer*float64(bytesIn(rate, 2*tc.delay))), tc.loss)
			l.burst = max(tc.burst, 1)
			s := testSender(1)
			f := l.add(s)
			early, _ := l.measure(time.Second)
			lost := f.lost
			shares, rtt := l.measure(6 * time.Second)
			t.Logf("%.3f of the rate, in the first second %.3f, mean round trip %v, at most %d kB queued, %.2f %% lost, %v",
				shares[0], early[0], rtt, l.most>>10,
				100*float64(f.lost-lost)/float64(bytesIn(rate, 6*time.Second)), s.state)
			if shares[0] < tc.share*(1-tc.loss) {
				t.Errorf("%.3f of the rate, want at least %.3f", shares[0], tc.share)
			}
			if most := time.Duration(tc.rtt * 2 * float64(tc.delay)); rtt > most {
				t.Errorf("a mean round trip of %v, want at most %v", rtt, most)
			}
		})
	}
}

// TestBandwidthChanges lets the rate of the link drop to a quarter, and come back.
func TestBandwidthChanges(t *testing.T) {
	t.Parallel()
	l := newLink(200*mbit, 10*time.Millisecond, 1000<<10, 0.005)
	l.add(testSender(1))
	l.run(3 * time.Second)
	for _, rate := range []int64{50 * mbit, 200 * mbit, 50 * mbit} {
		l.rate = rate
		l.free = l.now
		l.run(6 * time.Second) // two probes
		shares, rtt := l.measure(4 * time.Second)
		t.Logf("at %d Mbit/s: %.3f of the rate, mean round trip %v",
			int64(float64(rate)/mbit), shares[0], rtt)
		if shares[0] < 0.9 || rtt > 45*time.Millisecond {
			t.Errorf("at %d Mbit/s: %.3f of the rate and a mean round trip of %v",
				int64(float64(rate)/mbit), shares[0], rtt)
		}
	}
}

// TestPathChanges puts a longer path under the connection, as the transport does without
// telling it.
func TestPathChanges(t *testing.T) {
	t.Parallel()
	l := newLink(200*mbit, 100*time.Microsecond, 2000<<10, 0)
	l.add(testSender(1))
	l.run(3 * time.Second)
	l.delay = 25 * time.Millisecond
	l.run(2 * time.Second)
	shares, rtt := l.measure(2 * time.Second)
	t.Logf("%.3f of the rate, mean round trip %v", shares[0], rtt)
	if shares[0] < 0.85 {
		t.Errorf("%.3f of the rate from two seconds after the change", shares[0])
	}
}

// TestShares has two senders on one link, the second of which comes later, and then one
// beside New Reno.
func TestShares(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		other  func() control
		buffer float64 // in products of rate and round trip
		least  float64 // share of either
	}{
		{name: "bbr", other: func() control { return testSender(2) }, buffer: 2,
			least: 0.3},
		{name: "bbr, shallow buffer", other: func() control { return testSender(2) },
			buffer: 0.5, least: 0.2},
		{name: "reno", other: func() control { return newReno() }, buffer: 1,
			least: 0.15},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rate := int64(100 * mbit)
			l := newLink(rate, 10*time.Millisecond,
				int64(tc.buffer*float64(bytesIn(rate, 20*time.Millisecond))), 0)
			l.add(testSender(1))
			l.run(5 * time.Second)
			l.add(tc.other())
			settle, length := 20*time.Second, 40*time.Second
			if testing.Short() {
				settle, length = 10*time.Second, 10*time.Second
			}
			l.run(settle)
			shares, rtt := l.measure(length)
			t.Logf("%.3f and %.3f of the rate, mean round trip %v", shares[0], shares[1], rtt)
			if min(shares[0], shares[1]) < tc.least || shares[0]+shares[1] < 0.93 {
				t.Errorf("%.3f and %.3f of the rate: want %.2f at least for each, and 0.93 together", shares[0], shares[1], tc.least)
			}
		})
	}
}

// TestAppLimited sends a little now and then, and then all it can: the pauses must not
// have taught it a rate.
func TestAppLimited(t *testing.T) {
	t.Parallel()
	l := newLink(100*mbit, 10*time.Millisecond, 500<<10, 0)
	s := testSender(1)
	f := l.add(s)
	burst := int64(0)
	f.pause = func(now Time) bool { // 10 packets each 50 ms
		if int64(now)/int64(50*time.Millisecond) != burst {
			burst = int64(now) / int64(50*time.Millisecond)
			f.next += 1 - f.next%10
		}
		return f.next%10 == 0
	}
	l.run(20 * time.Second)
	if s.fullBWReached {
		t.Errorf("the path counts as full, at %d Mbit/s", int64(float64(s.bw)/mbit))
	}
	f.pause = nil
	if shares, _ := l.measure(time.Second); shares[0] < 0.8 {
		t.Errorf("%.3f of the rate in the first second after pauses", shares[0])
	}
	// An idle sender keeps what it knows.
	f.pause = func(Time) bool { return true }
	l.run(30 * time.Second)
	f.pause = nil
	if shares, _ := l.measure(time.Second); shares[0] < 0.9 {
		t.Errorf("%.3f of the rate in the first second after 30 s without sending",
			shares[0])
	}
}

// TestOutage loses everything for two seconds.
func TestOutage(t *testing.T) {
	t.Parallel()
	l := newLink(100*mbit, 10*time.Millisecond, 500<<10, 0)
	f := l.add(testSender(1))
	l.run(3 * time.Second)
	l.loss = 1
	l.run(2 * time.Second)
	l.loss = 0
	f.inflight, f.unacked = 0, nil // as a probe timeout of QUIC has it
	l.run(time.Second)
	if shares, _ := l.measure(time.Second); shares[0] < 0.9 {
		t.Errorf("%.3f of the rate in the second after the first second after an outage",
			shares[0])
	}
}

func TestTooHigh(t *testing.T) {
	for _, tc := range []struct {
		lost, of int64
		runs     int
		want     bool
	}{
		{lost: 0, of: 100, runs: 0},
		{lost: 2, of: 200, runs: 2},
		{lost: 5, of: 200, runs: 5}, // by chance
		{lost: 12, of: 200, runs: 12, want: true},
		{lost: 32, of: 1250, runs: 2}, // two bursts
		{lost: 80, of: 1250, runs: 5, want: true},
		{lost: 1, of: 3, runs: 1, want: true},
		{lost: 500, of: 1000, runs: 1, want: true},
		{lost: 1, of: 0, runs: 1, want: true},
	} {
		if got := tooHigh(tc.lost, tc.of, tc.runs); got != tc.want {
			t.Errorf("%d of %d lost in %d runs: %v, want %v", tc.lost, tc.of, tc.runs,
				got, tc.want)
		}
	}
}
