package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/boxer-sandbox/boxer/bench/meter"
	"github.com/boxer-sandbox/boxer/bench/over"
)

const (
	trueCount = 10
	coldCount = 3
	coldPort  = 7900
)

// measureTrue measures how long it takes to run the shortest program, from fork to wait.
func measureTrue(ctx context.Context, s *scene, f *field, r *labReport) error {
	var argv []string
	switch f.name {
	case nativeName:
		argv = []string{"true"}
	case boxerName:
		argv = []string{s.boxer, "run", "--", "true"}
	default:
		return nil
	}
	samples := make([]time.Duration, trueCount)
	for i := range samples {
		// Do not use Host.Command, because its own start would be measured too.
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

// measureCold measures the time from the start of boxer run on one host to the first byte
// from a node that is also new.
func measureCold(ctx context.Context, s *scene, f *field, r *labReport) error {
	if f.name != boxerName {
		return nil
	}
	var samples []time.Duration
	for range coldCount {
		took, err := s.cold(ctx)
		if err != nil {
			return fmt.Errorf("cold nodes: %w", err)
		}
		samples = append(samples, took)
	}
	r.add(coldStart, f.name, micros(quantile(samples, 0.5))/1e3)
	return nil
}

func (s *scene) cold(ctx context.Context) (time.Duration, error) {
	serve, err := startProcess("cold server",
		s.command(ctx, s.server, s.boxer, "run", "--name", "cold", "--",
			s.self, "serve", "tcp", anyAddr(coldPort)))
	if err != nil {
		return 0, err
	}
	defer serve.stop()
	if _, err := serve.await(over.Ready); err != nil {
		return 0, err
	}
	start := time.Now()
	ask, err := startProcess("cold client", s.command(ctx, s.client, s.boxer, "run", "--",
		s.self, "client", "tcp", net.JoinHostPort("cold", strconv.Itoa(coldPort))))
	if err != nil {
		return 0, err
	}
	defer ask.stop()
	err = ask.first()
	return time.Since(start), err
}

// measureJoins measures how long it takes until nodes that start at the same time have
// joined.
func measureJoins(ctx context.Context, s *scene, f *field, r *labReport) error {
	if f.name != boxerName || s.joins == "" {
		return nil
	}
	for _, m := range []struct {
		count  int
		figure figure
	}{{1, join1}, {100, join100}, {1000, join1000}} {
		p, err := startProcess("join", s.command(ctx, s.client, s.joins, strconv.Itoa(m.count)))
		if err != nil {
			return err
		}
		var got meter.Result
		got, err = p.answer()
		p.stop()
		// a busy machine may not support so many nodes in one process; the other results
		// remain valid
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %d nodes join: %.300s\n", m.count, err)
			continue
		}
		r.add(m.figure, f.name, micros(got.Elapsed)/1e3)
	}
	return nil
}
