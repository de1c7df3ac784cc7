package trace

import (
	"math/bits"
	"time"
)

// subBuckets is the number of buckets per power of two: quantiles are at most 1/32 too
// high.
const subBuckets = 32

// durations counts durations in buckets that grow with them, as HDR histograms do. It
// needs memory for at most 60 powers of two.
type durations struct {
	counts []uint32
	n      uint64
	total  time.Duration
	max    time.Duration
}

// add counts a duration.
func (d *durations) add(v time.Duration) {
	v = max(v, 0)
	at := bucket(uint64(v))
	for at >= len(d.counts) {
		d.counts = append(d.counts, make([]uint32, subBuckets)...)
	}
	d.counts[at]++
	d.n++
	d.total += v
	d.max = max(d.max, v)
}

// bucket returns the index of a value's bucket: one per value below subBuckets, then
// subBuckets for each power of two.
func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - bits.Len64(subBuckets)
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets
}

// highest returns the largest value of a bucket.
func highest(at int) uint64 {
	if at < subBuckets {
		return uint64(at)
	}
	shift := at/subBuckets - 1
	return uint64(at%subBuckets+subBuckets+1)<<shift - 1
}

// average returns the mean, or 0 if there are no durations.
func (d *durations) average() time.Duration {
	if d.n == 0 {
		return 0
	}
	return d.total / time.Duration(d.n)
}

// quantile returns the duration that a share q of all durations does not exceed.
func (d *durations) quantile(q float64) time.Duration {
	left := max(1, uint64(q*float64(d.n)+0.5))
	for at, n := range d.counts {
		if uint64(n) >= left && d.n > 0 {
			return min(time.Duration(highest(at)), d.max)
		}
		left -= uint64(n)
	}
	return d.max
}
