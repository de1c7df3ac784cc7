package trace

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestSummaryGolden(t *testing.T) {
	golden(t, "web.summary", write(t, "summary", Options{}, readAll(t, "web.jsonl")...))
	golden(t, "merged.summary", write(t, "summary", Options{Slowest: 3},
		readAll(t, "merged.jsonl")...))
}

// TestQuantile compares with quantiles of the sorted values.
func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 100, 100_000} {
		var d durations
		var all []time.Duration
		for range n {
			v := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
			d.add(v)
			all = append(all, v)
		}
		slices.Sort(all)
		for _, q := range []float64{0.01, 0.5, 0.99, 1} {
			want := all[max(0, int(q*float64(n)+0.5)-1)]
			if got := d.quantile(q); got < want ||
				float64(got) > float64(want)*(1+1.0/subBuckets)+1 {
				t.Errorf("of %d: quantile %v is %v, want %v", n, q, got, want)
			}
		}
	}
	var d durations
	for _, v := range []time.Duration{0, 1, -5, 1<<63 - 1} {
		d.add(v)
	}
	if d.quantile(1) != 1<<63-1 || d.quantile(0) != 0 ||
		(&durations{}).quantile(0.5) != 0 {
		t.Errorf("extremes: %v, %v", d.quantile(1), d.quantile(0))
	}
	if len(d.counts) > 62*subBuckets {
		t.Errorf("%d buckets", len(d.counts))
	}
}

// TestSummaryIsBounded has more names of everything than it keeps.
func TestSummaryIsBounded(t *testing.T) {
	s := newSummary(3)
	for i := range 3 * maxPeers {
		n := strconv.Itoa(i)
		s.add(&Call{Name: n, Duration: 1})
		s.add(&DNS{Query: n})
		s.add(&Connection{ID: ConnID(i + 1), Peer: n, State: Connecting, Role: RoleConnect})
		s.add(&Connection{ID: ConnID(i + 1), Peer: n, State: Opened, Role: RoleConnect,
			Setup: time.Duration(i)})
	}
	if len(s.calls) > maxCallNames+1 || len(s.names) > maxAsked+1 ||
		len(s.peers) > maxPeers+1 || len(s.waiting) > 0 {
		t.Errorf("%d calls, %d names, %d peers", len(s.calls), len(s.names), len(s.peers))
	}
	if s.calls[others].took.n != 3*maxPeers-maxCallNames || len(s.slow) != 3 ||
		s.slow[0].Setup != 3*maxPeers-1 || s.slow[2].Setup != 3*maxPeers-3 {
		t.Errorf("others: %d; slowest: %v", s.calls[others].took.n, s.slow)
	}
}
