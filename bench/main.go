// Command bench compares boxer with alternatives that can carry the same bytes, in one
// run over one lab.
//
//	bench [flags]                      as root, or where users may make namespaces
//	bench serve NETWORK ADDR           the measuring program, see package meter
//	bench client NETWORK ADDR
//	bench proxy LISTEN-ADDR TO-ADDR
//
// The lab (package natlab) has a public host with the coordinator, and two functions,
// each behind a NAT of its own. All contenders run at the same time, with server and
// client on the two functions. Bench measures them one after the other, in turns, so that
// the machine's noise affects all of them equally. For contenders that cannot punch, the
// server's NAT forwards the server's port. So all packets take the same path, through the
// same namespaces and both NATs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func main() {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	status, err := natlab.Inside(func() int {
		if err := bench(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		status = 1
	}
	os.Exit(status)
}

// options are the flags.
type options struct {
	boxer    string
	tunnels  string
	joins    string
	only     string
	settings []setting
	json     string
	plot     string
	rounds   int
	connects int
	trips    int
	idle     int
	time     time.Duration
	apps     bool
}

func parseOptions(args []string) (options, error) {
	var o options
	var labs string
	var custom setting
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.boxer, "boxer", "bin/boxer", "the `program` to measure")
	f.StringVar(&o.tunnels, "tunnels", "", "the `program` tunnels, for the contenders tailscale and wireguard-go; default: without them")
	f.StringVar(&o.joins, "joins", "", "the `program` joinbench, for the time that many nodes take to join; default: without it")
	f.StringVar(&o.only, "only", "", "measure these contenders, separated by commas; default: all")
	f.StringVar(&labs, "labs", settingNames(),
		"measure in these labs, separated by commas")
	f.StringVar(&o.json, "json", "", "write everything that was measured to this `file`")
	f.StringVar(&o.plot, "plot", "", "draw the most important figures into this SVG `file`")
	f.IntVar(&o.rounds, "rounds", 5, "how often to measure everything")
	f.IntVar(&o.connects, "connects", 200,
		"how many connections one after the other in a round")
	f.IntVar(&o.trips, "trips", 1000, "how many round trips in a round")
	f.IntVar(&o.idle, "idle", 10000, "how many idle connections, once; 0: none")
	f.DurationVar(&o.time, "time", time.Second, "how long a bulk transfer lasts")
	f.BoolVar(&o.apps, "apps", true, "measure PostgreSQL, Redis and nginx too")
	f.Int64Var(&custom.rate, "rate", 0, "one lab only: limit the server's link to so many bits per second")
	f.Float64Var(&custom.loss, "loss", 0,
		"one lab only: lose this share of the packets on the server's link, each way, 0 to 1")
	f.DurationVar(&custom.delay, "delay", 0,
		"one lab only: hold packets up on the server's link, each way")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 1 || o.connects < 1 || o.trips < 1 || o.idle < 0 ||
		o.time <= 0 {
		return o, errors.New("see bench -help")
	}
	if custom != (setting{}) {
		custom.name = "custom"
		o.settings = []setting{custom}
		return o, nil
	}
	var err error
	o.settings, err = settingsNamed(labs)
	return o, err
}

// bench measures everything and reports it.
func bench(args []string) (err error) {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	raiseFiles()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM,
		unix.SIGHUP)
	defer stop()
	all := &report{Machine: machine(), Rounds: o.rounds}
	for _, lab := range o.settings {
		r, err := benchIn(ctx, lab, o)
		if err != nil {
			return fmt.Errorf("lab %s: %w", lab.name, err)
		}
		all.Labs = append(all.Labs, r)
		// Print the results so far, in case a later lab fails.
		r.print(os.Stdout, all)
		if err := errors.Join(all.writeJSON(o.json), all.writePlot(o.plot)); err != nil {
			return err
		}
	}
	all.printGoals(os.Stdout)
	return nil
}

// manyFiles is RLIMIT_NOFILE for all measured processes. A proxy needs six descriptors
// for each idle connection.
const manyFiles = 1 << 17

// raiseFiles raises the limit as far as the system allows.
func raiseFiles() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil && limit.Max < manyFiles {
		// Use package syscall, which then lets children inherit the limit. Without root
		// this fails, and the measurement of idle connections reports it.
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE,
			&syscall.Rlimit{Cur: manyFiles, Max: manyFiles})
	}
}

// benchIn measures everything in one lab.
func benchIn(ctx context.Context, lab setting, o options) (_ *labReport, err error) {
	s, err := newScene(ctx, lab, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fields, err := s.enter(ctx, o)
	if err != nil {
		return nil, err
	}
	r := newLabReport(lab, fields)
	if err := measureAll(ctx, s, fields, o, r); err != nil {
		return nil, err
	}
	if lab.whole && o.apps {
		if err := measureApps(ctx, s, o, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}
