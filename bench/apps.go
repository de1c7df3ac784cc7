package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// An app is a server that is measured with its own benchmark program.
type app struct {
	name  string
	port  int
	user  string // the server's user; empty: the user who runs the benchmark
	build func(ctx context.Context, s *scene, on *natlab.Host, r *road) (server []string,
		err error)
	check func(r *road) []string // succeeds when the server is ready
	tests []appTest
}

// An appTest is one run of the client. result matches the figure's value in the output.
type appTest struct {
	figure figure
	client func(r *road) []string
	result *regexp.Regexp
}

// pgbenchTime is the duration of each run of pgbench or wrk, in seconds.
const pgbenchTime = "2"

var (
	tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	rpsLine = regexp.MustCompile(`"GET","([0-9.]+)"`)
	wrkLine = regexp.MustCompile(`(?m)^Requests/sec: +([0-9.]+)`)
)

var apps = []app{
	{
		name: "postgres", port: 15432, user: "postgres", build: buildPostgres,
		check: func(r *road) []string { return pgbenchAt(r, "-i", "-q", "-s", "1") },
		tests: []appTest{
			{pgbench1, func(r *road) []string {
				return pgbenchAt(r, "-n", "-N", "-c", "1",
					"-T", pgbenchTime)
			}, tpsLine},
			{pgbench16, func(r *road) []string {
				return pgbenchAt(r, "-n", "-N", "-c",
					"16", "-j", "2", "-T", pgbenchTime)
			}, tpsLine},
		},
	},
	{
		name: "redis", port: 16379,
		build: func(_ context.Context, _ *scene, _ *natlab.Host, r *road) ([]string, error) {
			return []string{"redis-server", "--bind", r.bind, "--port",
				strconv.Itoa(r.at), "--save", "", "--protected-mode", "no"}, nil
		},
		check: func(r *road) []string {
			return []string{"redis-cli", "-h", r.host, "-p",
				strconv.Itoa(r.port), "ping"}
		},
		tests: []appTest{
			{redisGet, func(r *road) []string {
				return redisAt(r, "-n", "20000", "-P",
					"1")
			}, rpsLine},
			{redisPipe, func(r *road) []string {
				return redisAt(r, "-n", "200000", "-P",
					"16")
			}, rpsLine},
		},
	},
	{
		name: "nginx", port: 18080, build: buildNginx,
		check: func(r *road) []string {
			return []string{"curl", "-sf", "-o", os.DevNull,
				"http://" + r.String() + "/"}
		},
		tests: []appTest{{wrkRate, func(r *road) []string {
			return []string{"wrk", "-t", "2", "-c", "50", "-d", pgbenchTime + "s",
				"http://" + r.String() + "/"}
		}, wrkLine}},
	},
}

func pgbenchAt(r *road, args ...string) []string {
	return append([]string{"pgbench", "-h", r.host, "-p", strconv.Itoa(r.port), "-U",
		"postgres"}, append(args, "postgres")...)
}

func redisAt(r *road, args ...string) []string {
	return append([]string{"redis-benchmark", "-h", r.host, "-p", strconv.Itoa(r.port),
		"-t", "get", "-c", "50", "--csv"}, args...)
}

// measureApps measures every application over every way, in turns.
func measureApps(ctx context.Context, s *scene, o options, r *labReport) error {
	for _, a := range apps {
		if err := measureApp(ctx, s, a, o, r); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	progress("")
	return nil
}

func measureApp(ctx context.Context, s *scene, a app, o options, r *labReport) error {
	var roads []*road
	var names []string
	for _, w := range ways {
		if !o.wants(w.name) {
			continue
		}
		progress("lab %s: %s over %s", s.name, a.name, w.name)
		road, err := s.open(ctx, a, w)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(os.Stderr, "bench: without %s: %v\n", a.name, err)
			return nil
		} else if err != nil {
			return fmt.Errorf("over %s: %w", w.name, err)
		}
		if road != nil {
			roads, names = append(roads, road), append(names, w.name)
		}
	}
	for round := range o.rounds {
		for i := range roads {
			i := (i + round) % len(roads)
			progress("lab %s, round %d of %d: %s over %s", s.name, round+1, o.rounds,
				a.name, names[i])
			for _, t := range a.tests {
				value, err := s.run(ctx, roads[i], t)
				if err != nil {
					return fmt.Errorf("over %s: %w", names[i], err)
				}
				r.add(t.figure, names[i], value)
			}
		}
	}
	return nil
}

// open starts the application's server at the end of a way, and waits until a client can
// connect.
func (s *scene) open(ctx context.Context, a app, w way) (*road, error) {
	r, err := w.enter(ctx, s, a)
	if r == nil || err != nil {
		return nil, err
	}
	on := s.server
	if a.user != "" && os.Geteuid() == 0 {
		if on, err = on.As(a.user); err != nil {
			return nil, err
		}
	}
	argv, err := a.build(ctx, s, on, r)
	if err != nil {
		return nil, err
	}
	argv = append(r.through, argv...)
	if _, err := s.start(a.name, s.command(ctx, on, argv[0], argv[1:]...)); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startTimeout)
	for {
		argv := append(r.client, a.check(r)...)
		out, err := s.command(ctx, s.client, argv[0], argv[1:]...).CombinedOutput()
		if err == nil {
			return r, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("%v: %w: %s", argv, err, out)
		}
		// each server has its own way to show that it is ready
		time.Sleep(100 * time.Millisecond)
	}
}

// run runs the client once.
func (s *scene) run(ctx context.Context, r *road, t appTest) (float64, error) {
	argv := append(r.client, t.client(r)...)
	out, err := s.command(ctx, s.client, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%v: %w: %s", argv, err, out)
	}
	found := t.result.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("%v: no %v in its output: %s", argv, t.result, out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// home makes a directory for the server of a road.
func (s *scene) home(r *road, kind string) (string, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("%s-%d-%d", kind, r.at, len(s.processes)))
	if err := os.Mkdir(dir, 0o777); err != nil {
		return "", err
	}
	// accessible to every user that the server may run as
	return dir, os.Chmod(dir, 0o777)
}

// buildPostgres makes a database. The database trusts every client and does not wait for
// the disk, because the benchmark measures the way to the database.
func buildPostgres(ctx context.Context, s *scene, on *natlab.Host, r *road) ([]string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("postgres (Debian package postgresql): %w",
			errors.Join(err, exec.ErrNotFound))
	}
	bin := found[len(found)-1]
	home, err := s.home(r, "postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(home, "data")
	initdb := s.command(ctx, on, filepath.Join(bin, "initdb"), "-D", data, "-U",
		"postgres", "--auth=trust", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	hba, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = hba.WriteString("host all all all trust\n")
	return []string{
		filepath.Join(bin, "postgres"), "-D", data, "-k", home, "-h", r.bind, "-p",
		strconv.Itoa(r.at),
		"-c", "fsync=off", "-c", "synchronous_commit=off",
	}, errors.Join(err, hba.Close())
}

// nginxConfig configures a server with one small page.
const nginxConfig = `daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 1024; }
http { access_log off; server { listen %[2]s:%[3]d; location / { return 200 "%[4]s"; } } }
`

func buildNginx(_ context.Context, s *scene, _ *natlab.Host, r *road) ([]string, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, err
	}
	home, err := s.home(r, "nginx")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "nginx.conf")
	page := fmt.Sprintf("%1024s", "a page of 1 KiB")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, home, r.bind, r.at, page),
		0o644); err != nil {
		return nil, err
	}
	return []string{nginx, "-c", file}, nil
}
