package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/launcher"
)

// onFlags are the flags about where a program runs.
type onFlags struct {
	on              string
	count, extra    int
	env             []string
	chdir           string
	join            string
	region, profile string

	maxLife, readyWithin time.Duration
	onLimit              string
	onDisconnect         string
}

// onlyOn are those that mean nothing to a program that runs here.
var onlyOn = []string{"count", "extra", "env", "chdir", "join-there", "region", "profile",
	"max-life", "on-limit", "on-disconnect", "ready-within"}

func (o *onFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.on, "on", "", "run it there: `HOST` is lambda:FUNCTION, a function that boxer lambda deploy has made (default: here)")
	f.IntVar(&o.count, "count", 1, "with --on: run it `N` times")
	f.IntVar(&o.extra, "extra", 0, "with --on: ask for `N` more; the first --count that arrive run, and the others are released")
	f.StringArrayVar(&o.env, "env", nil, "with --on: set a variable of the program, or pass on this one's: `NAME[=VALUE]`")
	f.StringVar(&o.chdir, "chdir", "", "with --on: the program's working directory, a `DIR` there")
	f.StringVar(&o.join, "join-there", "", "with --on: how the program's node joins: ssm:NAME or secretsmanager:ID, where the function finds the `URL` (default: this command's, in the order)")
	f.DurationVar(&o.maxLife, "max-life", 0, "with --on: after `DURATION` do what --on-limit says, such as 14m where a function ends after 15")
	f.StringVar(&o.onLimit, "on-limit", "stop", "with --max-life: `stop` the program by SIGTERM; replace it: a successor starts under the same name, and when it is ready the program gets SIGTERM; or command:COMMAND of sh(1), run in the node before SIGTERM")
	f.StringVar(&o.onDisconnect, "on-disconnect", "stop", "with --on: when this command is killed or loses the network, `stop` the program, or keep it, for boxer attach")
	f.DurationVar(&o.readyWithin, "ready-within", time.Minute, "with --on-limit replace: give a successor up that is not ready after `DURATION`")
	awsFlags(cmd, &o.region, &o.profile)
}

// life returns what the flags say of how long a program lives.
func (o *onFlags) life(cmd *cobra.Command) (host.Life, error) {
	l := host.Life{Max: o.maxLife, AtLimit: host.AtLimit(o.onLimit),
		Patience: o.readyWithin}
	if o.maxLife < 0 || cmd.Flags().Changed("max-life") && o.maxLife == 0 {
		return l, fmt.Errorf("--max-life %v: not a duration above 0s, such as 14m",
			o.maxLife)
	}
	if command, ok := strings.CutPrefix(o.onLimit, "command:"); ok && command != "" {
		l.AtLimit = host.Command
	} else if l.AtLimit != host.Stop && l.AtLimit != host.Replace {
		return l, fmt.Errorf("--on-limit %q: use stop, replace or command:COMMAND", o.onLimit)
	}
	if o.onDisconnect != "stop" && o.onDisconnect != "keep" {
		return l, fmt.Errorf("--on-disconnect %q: use stop or keep", o.onDisconnect)
	}
	if o.readyWithin <= 0 {
		return l, fmt.Errorf("--ready-within %v: not a duration above 0s, such as 1m",
			o.readyWithin)
	}
	return l, nil
}

// controls is a meeting as package host has it.
type controls struct{ *launcher.Meeting }

// Accept implements host.Controls.
func (c controls) Accept() (host.Conn, error) {
	conn, err := c.Meeting.Accept()
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// awsFlags are those of all commands that ask AWS.
func awsFlags(cmd *cobra.Command, region, profile *string) {
	cmd.Flags().StringVar(region, "region", "", "the AWS `REGION` (default as of AWS's tools)")
	cmd.Flags().StringVar(profile, "profile", "", "the `PROFILE` of AWS's configuration (default as of AWS's tools)")
}

// asked reports whether the program is to run elsewhere.
func (o *onFlags) asked(cmd *cobra.Command) bool {
	for _, name := range onlyOn {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return cmd.Flags().Changed("on")
}

// run runs the program there and returns its exit code.
func (o *onFlags) run(cmd *cobra.Command, node *runFlags, cfg launcher.RunConfig) (int,
	error) {
	order, err := o.order(cmd, node, cfg)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	if order.Node.Owner = node.owner; node.owner == "" {
		key, err := control.Key(true)
		if err != nil {
			return launcher.ExitBoxer, err
		}
		order.Node.Owner = control.FormatOwner(key.Public().(control.Owner))
	} else if _, err := control.ParseOwner(node.owner); err != nil {
		return launcher.ExitBoxer, fmt.Errorf("--owner: %w", err)
	}
	life, err := o.life(cmd)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	h, err := o.host(cmd.Context())
	if err != nil {
		return launcher.ExitBoxer, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	// Who reads the output may be gone: that is an error of a write, so that the network
	// is left in order.
	signal.Ignore(unix.SIGPIPE)
	meeting, err := launcher.Meet(cmd.Context(), launcher.MeetConfig{Join: cfg.Join,
		Version: version, Logger: cfg.Logger, Congestion: cfg.Congestion})
	if err != nil {
		return launcher.ExitBoxer, err
	}
	o.control(&life, meeting, cfg.Ready != nil)
	code, err := host.Run(cmd.Context(), h, controls{meeting},
		host.RunConfig{Order: order, Life: life, Keep: o.onDisconnect == "keep",
			Attached: node.attached,
			Count:    o.count, Extra: o.extra, Stdin: os.Stdin, Stdout: os.Stdout,
			Stderr: os.Stderr, Signals: signals,
			Progress: func(s string) { fmt.Fprintln(os.Stderr, "boxer:", s) }})
	return code, errors.Join(err, meeting.Close())
}

// control sets how processes are controlled while they are replaced.
func (o *onFlags) control(life *host.Life, meeting *launcher.Meeting, ready bool) {
	if ready {
		life.Ready = meeting.AwaitListed
	}
	session := func(ctx context.Context, node uint32) (*control.Session, error) {
		key, err := control.Key(false)
		if err != nil {
			return nil, err
		}
		conn, err := meeting.Command(ctx, node)
		if err != nil {
			return nil, err
		}
		return control.Open(conn, key, conn.Binding)
	}
	life.Unlist = func(ctx context.Context, node uint32) error {
		s, err := session(ctx, node)
		if err != nil {
			return err
		}
		return s.SetListed(ctx, false)
	}
	life.Command = func(ctx context.Context, node uint32) error {
		s, err := session(ctx, node)
		if err != nil {
			return err
		}
		result, err := s.Exec(ctx, control.Command{Argv: []string{"/bin/sh", "-c",
			strings.TrimPrefix(o.onLimit, "command:")}},
			control.Streams{Stdout: os.Stdout, Stderr: os.Stderr})
		if err == nil && result.Code != 0 {
			err = fmt.Errorf("it has ended with %d", result.Code)
		}
		return err
	}
}

// order returns what the flags ask for.
func (o *onFlags) order(cmd *cobra.Command, node *runFlags,
	cfg launcher.RunConfig) (host.Order, error) {
	order := host.Order{Version: host.OrderVersion, Argv: cfg.Argv, Dir: o.chdir,
		Join: o.join, Node: host.Node{Name: cfg.Name, WaitFor: node.waitFor,
			Drain: node.drain, Log: os.Getenv("BOXER_LOG")}}
	for _, name := range []string{"publish", "trace", "trace-format"} {
		if cmd.Flags().Changed(name) {
			return order, fmt.Errorf("--%s: not with --on yet: use boxer forward for a port of the node", name)
		}
	}
	if o.on == "" {
		return order, fmt.Errorf("--%s are for --on HOST, such as --on lambda:worker",
			strings.Join(onlyOn, ", --"))
	}
	if o.count < 1 || o.extra < 0 {
		return order, fmt.Errorf("--count %d --extra %d: want at least 1 and 0", o.count, o.extra)
	}
	setText := func(name string, to *string) {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			*to = f.Value.String()
		}
	}
	setText("wait-timeout", &order.Node.WaitTimeout)
	setText("peer-timeout", &order.Node.PeerTimeout)
	setText("congestion-control", &order.Node.Congestion)
	setText("interposer", &order.Node.Interposer)
	setText("data-path", &order.Node.DataPath)
	setText("asleep", &order.Node.Asleep)
	setText("ready-when", &order.Node.ReadyWhen)
	setText("listen", &order.Node.Listen)
	for _, e := range o.env {
		name, _, ok := strings.Cut(e, "=")
		if !ok {
			v, set := os.LookupEnv(name)
			if !set {
				return order, fmt.Errorf("--env %s: there is no such variable here; use --env %s=VALUE", name, name)
			}
			e = name + "=" + v
		}
		if name == "" {
			return order, errors.New("--env: an entry without a name; use NAME=VALUE or NAME")
		}
		order.Env = append(order.Env, e)
	}
	if o.join != "" && host.ParseSecret(o.join).Store == host.StoreValue {
		return order, errors.New("--join-there: use ssm:NAME or secretsmanager:ID; the join URL itself is for --join @FILE")
	}
	if order.Join == "" {
		order.Join = cfg.Join.String()
		if a, err := netip.ParseAddrPort(cfg.Join.Host); err == nil &&
			a.Addr().IsLoopback() {
			return order, fmt.Errorf("the coordinator listens at %s, which no function reaches: start one with a public address "+
				"(boxer coordinator --listen 0.0.0.0:4433 --host NAME) and give its URL by --join @FILE", cfg.Join.Host)
		}
	}
	return order, nil
}

// host returns the host that --on names.
func (o *onFlags) host(ctx context.Context) (host.Host, error) {
	function, ok := strings.CutPrefix(o.on, "lambda:")
	if !ok || function == "" {
		return nil, fmt.Errorf("--on %q: no host is called that; use lambda:FUNCTION, such as lambda:worker", o.on)
	}
	return lambdaHost(ctx, function, o.region, o.profile)
}
