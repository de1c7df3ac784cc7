package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// How often things are done in a round.
const (
	trapCount  = 5000
	trueCount  = 10
	warmUpTime = 200 * time.Millisecond
)

const kib = 1 << 10

// measureAll measures every contender once a round, one after the other.
func measureAll(ctx context.Context, s *scene, fields []*field, o options, r *report) error {
	for _, f := range fields {
		if err := warmUp(f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for round := range o.rounds {
		for i := range fields {
			f := fields[(i+round)%len(fields)] // nobody always follows the same one
			progress("round %d of %d: %s", round+1, o.rounds, f.name)
			if err := measureField(ctx, s, f, o, r); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	progress("")
	for _, f := range fields {
		if f.name == "boxer" {
			path, err := s.boxerPath(ctx)
			if err != nil {
				return err
			}
			f.note = path + " path"
		}
	}
	return nil
}

// progress shows on a terminal what is going on, in the place of what it showed before.
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

func measureField(ctx context.Context, s *scene, f *field, o options, r *report) error {
	if f.bulk {
		if err := measureLatency(f, o, r); err != nil {
			return err
		}
		if err := measureBulk(f, o, r); err != nil {
			return err
		}
	}
	if f.syscall {
		got, err := f.client.order(meter.Order{Measure: meter.Getsockname, Count: trapCount})
		if err != nil {
			return err
		}
		r.add(trapP50, f.name, micros(quantile(got.Samples, 0.5)))
	}
	return measureTrue(ctx, s, f, r)
}

func measureLatency(f *field, o options, r *report) error {
	for _, m := range []struct {
		order    meter.Order
		p50, p99 figure
	}{
		{meter.Order{Measure: meter.Connect, Count: o.connects}, connectP50, connectP99},
		{meter.Order{Measure: meter.RoundTrip, Count: o.trips, Size: kib}, tripP50, tripP99},
	} {
		got, err := f.client.order(m.order)
		if err != nil {
			return err
		}
		if len(got.Dials) > 0 {
			r.add(dialP50, f.name, micros(quantile(got.Dials, 0.5)))
		}
		r.add(m.p50, f.name, micros(quantile(got.Samples, 0.5)))
		r.add(m.p99, f.name, micros(quantile(got.Samples, 0.99)))
	}
	return nil
}

func measureBulk(f *field, o options, r *report) error {
	for _, m := range []struct {
		streams   int
		rate, cpu figure
	}{{1, bulk1, bulk1CPU}, {8, bulk8, bulk8CPU}} {
		before, err := cpuOf(f.ends)
		if err != nil {
			return err
		}
		got, err := f.client.order(meter.Order{Measure: meter.Bulk, Streams: m.streams, Time: o.time})
		if err != nil {
			return err
		}
		after, err := cpuOf(f.ends)
		if err != nil {
			return err
		}
		r.add(m.rate, f.name, float64(got.Bytes)*8/got.Elapsed.Seconds()/1e9)
		r.add(m.cpu, f.name, (after-before).Seconds()/(float64(got.Bytes)/1e9))
	}
	return nil
}

// measureTrue measures what it takes to run the shortest program, from fork to wait.
func measureTrue(ctx context.Context, s *scene, f *field, r *report) error {
	var argv []string
	switch f.name {
	case nativeName:
		argv = []string{"true"}
	case "boxer":
		argv = []string{s.boxer, "run", "--", "true"}
	default:
		return nil
	}
	samples := make([]time.Duration, trueCount)
	for i := range samples {
		// Not by Host.Command, whose own start would count.
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = s.environ()
		err := s.client.Do(func() error {
			start := time.Now()
			err := cmd.Run()
			samples[i] = time.Since(start)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", cmd, err)
		}
	}
	r.add(runTrue, f.name, micros(quantile(samples, 0.5))/1e3)
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
