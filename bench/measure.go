package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// Counts of operations in a round.
const (
	trapCount    = 5000
	churnWorkers = 16
	smallCount   = 1_000_000 // of smallSize bytes: 100 MB
	smallSize    = 100
	warmUpTime   = 200 * time.Millisecond
)

const kib = 1 << 10

// measureAll measures every contender once a round, one after the other. If a third-party
// contender fails, measureAll skips it from then on.
func measureAll(ctx context.Context, s *scene, fields []*field, o options,
	r *labReport) error {
	failed := make(map[*field]bool)
	for round := range o.rounds {
		for i := range fields {
			f := fields[(i+round)%len(fields)] // no contender always follows the same one
			if failed[f] {
				continue
			}
			progress("lab %s, round %d of %d: %s", s.name, round+1, o.rounds, f.name)
			err := measureRound(ctx, s, f, o, r, round == 0)
			switch {
			case err == nil:
			case f.name == nativeName, f.name == boxerName, ctx.Err() != nil:
				return fmt.Errorf("%s: %w", f.name, err)
			default:
				failed[f] = true
				fmt.Fprintf(os.Stderr, "bench: lab %s: %s failed and is skipped from now on: %.300s\n",
					s.name, f.name, err)
			}
		}
	}
	progress("")
	for _, f := range fields {
		if f.name == boxerName {
			path, err := s.boxerPath(ctx)
			if err != nil {
				return err
			}
			f.note = path + " path"
		}
	}
	return nil
}

// measureRound measures a contender once.
func measureRound(ctx context.Context, s *scene, f *field, o options, r *labReport,
	first bool) error {
	if first {
		if err := warmUp(f); err != nil {
			return err
		}
	}
	if err := measureField(ctx, s, f, o, r); err != nil || !first || !s.whole {
		return err
	}
	return measureOnce(ctx, s, f, o, r)
}

// progress shows the current step on a terminal, in place of the previous one.
func progress(format string, args ...any) {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}

// warmUp lets windows and packet sizes grow.
func warmUp(f *field) error {
	if !f.bulk {
		return nil
	}
	_, err := f.client.order(meter.Order{Measure: meter.Bulk, Streams: 1, Time: warmUpTime})
	return err
}

func measureField(ctx context.Context, s *scene, f *field, o options,
	r *labReport) error {
	if f.bulk {
		if err := measureLatency(s, f, o, r); err != nil {
			return err
		}
		if err := measureBulk(s, f, o, r); err != nil {
			return err
		}
	}
	if !s.whole {
		return measureCold(ctx, s, f, r)
	}
	if err := measureDatagrams(f, o, r); err != nil {
		return err
	}
	if err := measureTraps(f, r); err != nil {
		return err
	}
	if err := measureTrue(ctx, s, f, r); err != nil {
		return err
	}
	return measureCold(ctx, s, f, r)
}

// measureOnce measures figures that take too long to measure in every round.
func measureOnce(ctx context.Context, s *scene, f *field, o options, r *labReport) error {
	if f.bulk {
		progress("lab %s: %s, small writes", s.name, f.name)
		if err := measureSmall(f, r); err != nil {
			return err
		}
	}
	if count := idleOver(f.name, o.idle); f.bulk && count > 0 {
		progress("lab %s: %s, %d idle connections", s.name, f.name, count)
		if err := measureIdle(ctx, f, count, r); err != nil { // it has no figure then
			fmt.Fprintf(os.Stderr, "bench: %s: %d idle connections: %.300s\n", f.name,
				count, err)
		}
	}
	return measureJoins(ctx, s, f, r)
}

func measureLatency(s *scene, f *field, o options, r *labReport) error {
	got, err := f.client.order(meter.Order{Measure: meter.Connect, Count: o.connects})
	if err != nil {
		return err
	}
	r.add(dialP50, f.name, micros(quantile(got.Dials, 0.5)))
	r.add(connectP50, f.name, micros(quantile(got.Samples, 0.5)))
	r.add(connectP99, f.name, micros(quantile(got.Samples, 0.99)))
	for _, t := range trips {
		if t.size != kib && !s.whole {
			continue
		}
		count := o.trips
		if t.size > kib {
			count = max(1, count/4)
		}
		got, err := f.client.order(meter.Order{Measure: meter.RoundTrip, Count: count,
			Size: t.size})
		if err != nil {
			return err
		}
		r.add(t.p50, f.name, micros(quantile(got.Samples, 0.5)))
		r.add(t.p99, f.name, micros(quantile(got.Samples, 0.99)))
	}
	if !s.whole {
		return nil
	}
	if got, err = f.client.order(meter.Order{Measure: meter.Churn, Streams: churnWorkers,
		Time: o.time}); err != nil {
		return err
	}
	r.add(churnRate, f.name, float64(got.Count)/got.Elapsed.Seconds())
	return nil
}

func measureBulk(s *scene, f *field, o options, r *labReport) error {
	for _, l := range loads {
		if !s.whole && (l.both || l.streams > 8) {
			continue
		}
		before, err := usageOf(f.ends)
		if err != nil {
			return err
		}
		got, err := f.client.order(meter.Order{Measure: meter.Bulk, Streams: l.streams,
			Both: l.both, Time: o.time})
		if err != nil {
			return err
		}
		after, err := usageOf(f.ends)
		if err != nil {
			return err
		}
		r.add(l.rate, f.name, float64(got.Bytes)*8/got.Elapsed.Seconds()/1e9)
		r.add(l.cpu, f.name, (after.cpu-before.cpu).Seconds()/(float64(got.Bytes)/1e9))
	}
	return nil
}

func measureSmall(f *field, r *labReport) error {
	got, err := f.client.order(meter.Order{Measure: meter.Small, Count: smallCount,
		Size: smallSize})
	if err != nil {
		return err
	}
	r.add(smallRate, f.name, float64(got.Bytes)/got.Elapsed.Seconds()/1e6)
	return nil
}

// The datagrams that are measured.
const (
	datagramSize = kib
	offeredRate  = 100_000 // a second
	questioners  = 8
)

// measureDatagrams measures UDP, for contenders that have it.
func measureDatagrams(f *field, o options, r *labReport) error {
	if f.udp != "" {
		trips, err := f.client.order(meter.Order{Measure: meter.DatagramTrip, To: f.udp,
			Count: o.trips, Size: datagramSize})
		if err != nil {
			return err
		}
		r.add(udpTrip, f.name, micros(quantile(trips.Samples, 0.5)))
		all := meter.Order{Measure: meter.Datagrams, To: f.udp, Size: datagramSize,
			Time: o.time}
		got, err := f.client.order(all)
		if err != nil {
			return err
		}
		r.add(udpRate, f.name, float64(got.Count)/got.Elapsed.Seconds())
		all.Rate = offeredRate
		if got, err = f.client.order(all); err != nil {
			return err
		}
		r.add(udpLoss, f.name, 100*(1-float64(got.Count)/float64(got.Sent)))
	}
	if f.host == "" {
		return nil
	}
	got, err := f.client.order(meter.Order{Measure: meter.Questions, To: f.host,
		Streams: questioners, Time: o.time})
	if err != nil {
		return err
	}
	r.add(dnsRate, f.name, float64(got.Count)/got.Elapsed.Seconds())
	return nil
}

// measureTraps measures calls that boxer traps, for contenders whose client uses kernel
// sockets.
func measureTraps(f *field, r *labReport) error {
	if !f.syscall {
		return nil
	}
	for _, m := range []struct {
		measure string
		figure  figure
	}{{meter.Getsockname, trapName}, {meter.Accept, trapAccept},
		{meter.ConnectHere, trapHere}} {
		got, err := f.client.order(meter.Order{Measure: m.measure, Count: trapCount})
		if err != nil {
			return err
		}
		r.add(m.figure, f.name, micros(quantile(got.Samples, 0.5)))
	}
	return nil
}

// idleFor is how long the CPU use of idle connections is measured.
const idleFor = 3 * time.Second

// proxyFiles is how many descriptors a proxy needs for an idle connection: two sockets,
// and two pipes for splice(2).
const proxyFiles = 6

// idleOver returns how many of the wanted idle connections a contender can have. A proxy
// without free descriptors would wait for some forever.
func idleOver(contender string, wanted int) int {
	var limit unix.Rlimit
	if contender != proxiesName || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return wanted
	}
	return min(wanted, int(min(limit.Max, manyFiles)-128)/proxyFiles)
}

// measureIdle measures the cost of idle connections.
func measureIdle(ctx context.Context, f *field, count int, r *labReport) error {
	before, err := usageOf(f.ends)
	if err != nil {
		return err
	}
	if _, err := f.client.order(meter.Order{Measure: meter.Idle, Count: count}); err != nil {
		return err
	}
	settle := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := settle(time.Second); err != nil { // let the work of opening them finish
		return err
	}
	opened, err := usageOf(f.ends)
	if err != nil {
		return err
	}
	if err := settle(idleFor); err != nil {
		return err
	}
	after, err := usageOf(f.ends)
	if err != nil {
		return err
	}
	r.add(idleMemory, f.name, float64(after.memory-before.memory)/kib/float64(count)/2)
	r.add(idleCPU, f.name, float64((after.cpu-opened.cpu).Milliseconds())/idleFor.Seconds())
	_, err = f.client.order(meter.Order{Measure: meter.Idle})
	return err
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
