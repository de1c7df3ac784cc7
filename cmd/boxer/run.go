package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/launcher"
	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

// runFlags are the flags about the node that a program becomes.
type runFlags struct {
	join             *pflag.Flag
	name             string
	congestion       string
	interposer       string
	dataPath         string
	publish, waitFor []string
	listen           string
	waitTimeout      time.Duration
	peerTimeout      time.Duration
	drain            string
	readyWhen        string
	asleep           string
	started          func(*launcher.Program) // called when the program runs; nil: not
	owner            string
	keep             bool // the program's output
	place            string
	memory           int
	detach           bool
	detached         *os.File // who waits for the start; nil: nobody
}

func (r *runFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	r.join = joinFlag(cmd)
	congestionFlag(cmd, &r.congestion)
	f.StringVar(&r.interposer, "interposer", "",
		"take the program's calls by `HOW`: seccomp (a filter), rewrite (inside the "+
			"program), or auto: seccomp where the host allows it "+
			"(default $BOXER_INTERPOSER, else auto)")
	f.StringVar(&r.dataPath, "data-path", "", "`HOW` the node's connections travel: quic, "+
		"or direct: in the clear by the kernel's TCP where the network's owner allows "+
		"it, too (default: as the coordinator's --data-path says)")
	f.StringVar(&r.name, "name", "", "`NAME` of the node; several nodes may have the "+
		"same (default $BOXER_NAME, else node-ID)")
	f.StringVar(&r.drain, "drain", "", "when the program has ended, wait at most "+
		"`DURATION` until the peers have read what it wrote; 0s: do not wait "+
		"(default: as long as they read)")
	f.StringVar(&r.owner, "owner", "", "who may control the node over the network: a "+
		"`KEY` that boxer owner prints (default this user)")
	f.BoolVarP(&r.detach, "detach", "d", false, "run the program in the background, "+
		"print its node-ID when it has started, and keep its output for boxer logs")
	f.BoolVar(&r.keep, "keep-output", false, "keep the last part of the program's "+
		"output for boxer logs; the program then writes to pipes")
	f.StringVar(&r.place, "place", "", "the `HOST` that has ordered this, for boxer ps")
	f.IntVar(&r.memory, "memory", 0, "`MB` that the host bills, for boxer ps")
	for _, name := range []string{"place", "memory"} {
		if err := f.MarkHidden(name); err != nil {
			panic(err) // a flag that is there
		}
	}
	f.StringVar(&r.asleep, "asleep", "", "a connect to a node that is asleep, such as a "+
		"function between two invocations, does `THIS`: wait until it is awake, or fail "+
		"(default wait)")
	f.StringVar(&r.readyWhen, "ready-when", "", "the node's name leads to it when `THIS` "+
		"holds: a port of the program such as 5432, file:PATH, or command:COMMAND of "+
		"sh(1), run in the node, ends with 0 (default: at once)")
	f.StringArrayVar(&r.publish, "publish", nil, "forward a port of this host to a "+
		"port of the node: `[ADDR:]HOSTPORT:PORT`")
	f.StringVar(&r.listen, "listen", "", "let other nodes connect to these `PORTS` only, "+
		"such as 5432,8080-8090,53/udp; none: to no port (default: to all that the "+
		"network's policy allows)")
	f.StringArrayVar(&r.waitFor, "wait-for", nil, "start the program when N nodes "+
		"with that name have joined and are ready: `NAME[=N]`")
	f.DurationVar(&r.peerTimeout, "peer-timeout", 0, "treat a peer that has sent "+
		"nothing for `DURATION` as dead, and reset its connections; boxer reports a "+
		"killed peer at once (default 8s)")
	f.DurationVar(&r.waitTimeout, "wait-timeout", 0, "fail if the nodes of "+
		"--wait-for have not joined after `DURATION` (default: no limit)")
}

// config returns the configuration that the flags ask for.
func (r *runFlags) config(ctx context.Context, argv []string) (cfg launcher.RunConfig,
	err error) {
	cfg = launcher.RunConfig{Argv: argv, Name: r.name, Version: version,
		Place: launcher.Place{Name: r.place, Memory: r.memory}}
	if cfg.Name == "" {
		cfg.Name = os.Getenv("BOXER_NAME")
	}
	if cfg.Logger, err = logger(); err != nil {
		return cfg, err
	}
	if cfg.Drain, err = parseDrain(r.drain); err != nil {
		return cfg, err
	}
	if cfg.Congestion, err = parseCongestion(r.congestion); err != nil {
		return cfg, err
	}
	if cfg.Interposer, err = parseInterposer(r.interposer); err != nil {
		return cfg, err
	}
	if r.dataPath != "" {
		if cfg.DataPath, err = coordinator.ParseDataPath(r.dataPath); err != nil {
			return cfg, fmt.Errorf("--data-path %w", err)
		}
	}
	if r.listen != "" {
		cfg.Offer = new(policy.Ports)
		if err := cfg.Offer.UnmarshalText([]byte(r.listen)); err != nil {
			return cfg, fmt.Errorf("--listen %q: %w; or none", r.listen, err)
		}
	}
	for _, s := range r.publish {
		p, err := launcher.ParsePublish(s)
		if err != nil {
			return cfg, err
		}
		cfg.Publish = append(cfg.Publish, p)
	}
	if cfg.Asleep, err = launcher.ParseAsleep(r.asleep); err != nil {
		return cfg, fmt.Errorf("--asleep %w", err)
	}
	if r.readyWhen != "" {
		if cfg.Ready, err = launcher.ParseReadyWhen(r.readyWhen); err != nil {
			return cfg, fmt.Errorf("--ready-when %w", err)
		}
	}
	if d := r.peerTimeout; d != 0 && (d < transport.MinPeerTimeout ||
		d > transport.MaxPeerTimeout) {
		return cfg, fmt.Errorf("--peer-timeout %v: want %v to %v, such as 2s", d,
			transport.MinPeerTimeout, transport.MaxPeerTimeout)
	}
	cfg.PeerTimeout = r.peerTimeout
	if r.waitTimeout < 0 {
		return cfg, fmt.Errorf("--wait-timeout %v: it must be above 0s, such as 30s",
			r.waitTimeout)
	}
	cfg.WaitTimeout = r.waitTimeout
	for _, s := range r.waitFor {
		w, err := parseWaitFor(s)
		if err != nil {
			return cfg, err
		}
		cfg.WaitFor = append(cfg.WaitFor, w)
	}
	cfg.Join, err = joinURL(ctx, r.join)
	return cfg, err
}

func runCommand(code *int) *cobra.Command {
	var run runFlags
	var t traceFlags
	var link linkFlags
	var on onFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARG...]",
		Short: "Run a program as a node of the network",
		Long: `Run a program as a node of the network. The node has a name and an address, and its
sockets connect to the other nodes and accept connections from them. The program
needs no privileges and is not changed. It has the same files, terminal and signals
as without boxer, and boxer ends with its exit code.

Without CAP_SYS_ADMIN, setuid programs such as sudo keep the caller's identity
(no_new_privs, prctl(2)). When the program ends, boxer ends the processes that it
left running.

When the program has ended, boxer waits until its peers have read what the program
wrote, as the Linux kernel would. --drain limits that time. If boxer could not
deliver everything, it says so, and its exit code is 125 where the program's was 0.

Exit codes: the program's; 128+N if signal N killed it; 127 if it was not found,
126 if it is not executable, 125 if boxer itself failed.`,
		Example: `  boxer run --name db -- postgres -D data
  boxer run --join @join.url -- psql -h db
  boxer run --name web --publish 8080:80 -- nginx -g 'daemon off;'
  boxer run --wait-for db --wait-for worker=3 --wait-timeout 1m -- ./job
  boxer run --trace db.jsonl --name db -- postgres -D data`,
		ValidArgsFunction: completeCommand,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				return usage(cmd, errNoCommand)
			}
			if e := launcher.FindEnclosing(); e != nil {
				return runInside(cmd, e, args, code)
			}
			if run.detach && os.Getenv(detachedVariable) == "" {
				*code, err = detach(cmd.Context(), run.join, run.name)
				return err
			}
			if on.asked(cmd) {
				if err := needsAWS(); err != nil {
					return err
				}
			}
			if run.detached, err = detachedFile(); err != nil {
				return err
			}
			cfg, err := run.config(cmd.Context(), args)
			if err != nil {
				return err
			}
			if err := link.config(&cfg); err != nil {
				return err
			}
			if on.asked(cmd) {
				*code, err = on.run(cmd, &run, cfg)
				return err
			}
			if t.out.file != "" {
				return runTraced(cmd, &run, cfg, &t, code)
			}
			if link.control != "" {
				conn, err := ownFile(link.control)
				if err != nil {
					return fmt.Errorf("--control-fd %q: %w", link.control, err)
				}
				*code, err = run.runControlled(cmd.Context(), cfg, conn)
				return err
			}
			*code, err = run.runNode(cmd.Context(), cfg)
			return err
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	run.register(cmd)
	link.register(cmd)
	on.register(cmd)
	f.StringVar(&t.out.file, "trace", "", "write a trace of the program's "+
		"connections to `FILE`; \"boxer trace\" shows calls, too")
	f.StringVar(&t.out.format, "trace-format", "", "`FORMAT` of the "+
		"trace: "+strings.Join(trace.Formats(), ", ")+" (default: by the file's "+
		"extension, else text)")
	return cmd
}

// ownProcess are the effects of a node for which alone this process is there.
var ownProcess = launcher.Effects{Signals: true, JobControl: true, Reaper: true,
	Processors: true, Descriptors: true, ServiceManager: true}

// runNode runs a program as a node, for which alone this process is there.
func (r *runFlags) runNode(ctx context.Context, cfg launcher.RunConfig) (int, error) {
	cfg.Effects = ownProcess
	owner, err := ownerOf(r.owner)
	if err != nil {
		return launcher.ExitBoxer, fmt.Errorf("--owner: %w", err)
	}
	c := &controlled{argv: cfg.Argv, owner: owner, started: time.Now()}
	cfg.Commands = c.serve
	if !r.keep && !r.detach {
		p, err := launcher.Start(ctx, cfg)
		if err != nil {
			return launcher.ExitCodeOf(err), err
		}
		r.hasStarted(p)
		return p.Wait()
	}
	o, err := keepOutput(&cfg, control.DefaultLogSize)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	c.log = o.log
	p, err := launcher.Start(ctx, cfg)
	o.started()
	if err != nil {
		return launcher.ExitCodeOf(err), err
	}
	r.hasStarted(p)
	code, err := p.Wait()
	o.copied.Wait()
	return code, err
}

// hasStarted tells those who wait for the program that it runs.
func (r *runFlags) hasStarted(p *launcher.Program) {
	r.attached([]uint32{p.Status().ID})
	if r.started != nil {
		r.started(p)
	}
}

// parseDrain returns the value of launcher.RunConfig.Drain for --drain.
func parseDrain(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("--drain %q: not a duration; use 0s or more, such as "+
			"500ms, 30s or 10m", s)
	}
	if d == 0 {
		return -1, nil
	}
	return d, nil
}

// parseInterposer reads --interposer, or BOXER_INTERPOSER where the flag is not set.
func parseInterposer(s string) (launcher.InterposerKind, error) {
	from := "--interposer"
	if s == "" {
		s, from = os.Getenv("BOXER_INTERPOSER"), "BOXER_INTERPOSER"
	}
	k, err := launcher.ParseInterposer(s)
	if err != nil {
		return "", fmt.Errorf("%s %w", from, err)
	}
	return k, nil
}

func parseWaitFor(s string) (launcher.WaitFor, error) {
	name, count, ok := strings.Cut(s, "=")
	w := launcher.WaitFor{Name: name, Count: 1}
	if ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return w, fmt.Errorf("--wait-for %q: %q is not a number of 1 or more; "+
				"use NAME or NAME=N, such as worker=3", s, count)
		}
		w.Count = n
	}
	if name == "" {
		return w, fmt.Errorf("--wait-for %q: the name is missing; use NAME or "+
			"NAME=N, such as worker=3", s)
	}
	var err error
	if w.Name, err = coordinator.CheckTarget(name); err != nil {
		return w, fmt.Errorf("--wait-for %q: %w; use NAME or NAME=N, such as "+
			"worker=3", s, err)
	}
	return w, nil
}
