//go:build compose

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/compose"
	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/project"
)

// upFlags are those of boxer up.
type upFlags struct {
	projectFlags
	lines lineFlags
	o     project.UpOptions

	detach, wait     bool
	waitTimeout      time.Duration
	scale            []string
	timeout          int
	exitCodeFrom     string
	abortOnExit      bool
	abortOnFailure   bool
	attach, noAttach []string
}

func upCommand(code *int) *cobra.Command {
	var u upFlags
	cmd := &cobra.Command{
		Use:   "up [flags] [SERVICE...]",
		Short: "Start the services of a compose file, each as a node",
		Long: `Start the services of a compose file, each as a node whose name is the service's. What
runs already and has not changed stays. Without --detach, show what the services write
until they have ended. Ctrl-C stops them, a second one kills them. The services belong
to a process of their own: they go on if boxer up is killed, and boxer up shows them
again.

The nodes are in a network of the project, on this host; --join takes another one.
boxer run --join @FILE, with the file that boxer up names, takes part in it.

Exit codes: 0, or that of the first service that has failed; 130 after Ctrl-C; 1 if a
service does not start.`,
		Example: `  boxer up
  boxer up --detach --wait && boxer ps
  boxer -f compose.yaml -f compose.prod.yaml up --scale worker=3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			u.o.Services = args
			return u.run(cmd, code)
		},
	}
	u.register(cmd)
	joinFlag(cmd)
	u.lines.register(cmd)
	f := cmd.Flags()
	f.BoolVarP(&u.detach, "detach", "d", false, "start the services, and return")
	f.BoolVar(&u.wait, "wait", false, "return when the services run and are healthy; with --detach")
	f.DurationVar(&u.waitTimeout, "wait-timeout", 0, "fail if they are not after `DURATION` (default: no limit)")
	f.StringArrayVar(&u.scale, "scale", nil, "run N instances of a service: `SERVICE=N`")
	timeoutFlag(cmd, &u.timeout)
	f.StringVar(&u.exitCodeFrom, "exit-code-from", "", "end with the exit code of `SERVICE`, and stop all when it ends")
	f.BoolVar(&u.abortOnExit, "abort-on-container-exit", false,
		"stop all when one ends, and end with its exit code")
	f.BoolVar(&u.abortOnFailure, "abort-on-container-failure", false,
		"the same when one fails")
	f.StringArrayVar(&u.noAttach, "no-attach", nil, "do not show what `SERVICE` writes")
	f.StringArrayVar(&u.attach, "attach", nil, "show only what `SERVICE` writes")
	f.BoolVar(&u.o.NoDeps, "no-deps", false, "without what the services depend on")
	f.BoolVar(&u.o.RemoveOrphans, "remove-orphans", false,
		"remove services that the file has no more")
	f.BoolVar(&u.o.Recreate, "force-recreate", false,
		"start also anew what has not changed")
	f.BoolVar(&u.o.NoRecreate, "no-recreate", false,
		"keep what runs, even if it has changed")
	return cmd
}

// boxerBeside returns the program boxer itself: what keeps running does not pay for what
// only reads compose files.
func boxerBeside() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), "boxer")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return self, nil
}

// load reads the compose files.
func (p *projectFlags) load(ctx context.Context, warn func(string)) (*types.Project, error) {
	return compose.Load(ctx, compose.Options{Files: p.files, Name: p.name,
		Profiles: p.profiles, EnvFiles: p.envFiles, Dir: p.dir, Warn: warn})
}

// say tells something once.
func say(w io.Writer) func(string) {
	said := map[string]bool{}
	return func(text string) {
		if !said[text] {
			said[text] = true
			fmt.Fprintln(w, "boxer:", text)
		}
	}
}

// plan makes the plan of the files and of the flags.
func (u *upFlags) plan(cmd *cobra.Command) (plan project.Plan, err error) {
	warn := say(cmd.ErrOrStderr())
	p, err := u.load(cmd.Context(), warn)
	if err != nil {
		return plan, err
	}
	if err := enable(&p, u.o.Services); err != nil {
		return plan, err
	}
	if p, err = withScale(p, u.scale); err != nil {
		return plan, err
	}
	volumes, err := volumesDir()
	if err != nil {
		return plan, err
	}
	images, err := imagesDir()
	if err != nil {
		return plan, err
	}
	c := compose.Converter{Volumes: volumes, Warn: warn,
		Image: compose.Images(images, warn)}
	if plan, err = c.Plan(cmd.Context(), p); err != nil {
		return plan, err
	}
	plan.Join, err = u.join(cmd)
	return plan, err
}

// imagesDir returns the directory for the files of images: in the user's cache directory,
// or in the runtime directory if the environment names neither a cache directory nor a
// home. Programs are run from there. So imagesDir takes no name in /tmp that another user
// may have taken; RuntimeDir checks that.
func imagesDir() (string, error) {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "boxer", "images"), nil
	}
	dir, err := coordinator.RuntimeDir()
	if err != nil {
		return "", fmt.Errorf("no directory for images (set XDG_CACHE_HOME to one of "+
			"your own): %w", err)
	}
	return filepath.Join(dir, "images"), nil
}

// enable activates the services that are named although their profiles are not active.
func enable(p **types.Project, names []string) error {
	for _, name := range names {
		if _, ok := (*p).DisabledServices[name]; ok {
			with, err := (*p).WithServicesEnabled(name)
			if err != nil {
				return err
			}
			*p = with
		}
	}
	return nil
}

func withScale(p *types.Project, scale []string) (*types.Project, error) {
	for _, text := range scale {
		name, count, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return p, fmt.Errorf("--scale %q: use SERVICE=N, such as worker=3", text)
		}
		s, err := p.GetService(name)
		if err != nil {
			return p, fmt.Errorf("--scale %q: %w", text, err)
		}
		s.SetScale(n)
		p.Services[name] = s
	}
	return p, nil
}

// join returns the network that --join or BOXER_JOIN names, else nothing.
func (u *upFlags) join(cmd *cobra.Command) (string, error) {
	flag := cmd.Flags().Lookup("join")
	if _, set := os.LookupEnv("BOXER_JOIN"); !flag.Changed && !set {
		return "", nil
	}
	n, err := findNetwork(cmd.Context(), flag, nil)
	return n.url.String(), err
}

func (u *upFlags) run(cmd *cobra.Command, code *int) error {
	if u.wait {
		u.detach = true
	}
	if u.detach && (u.exitCodeFrom != "" || u.abortOnExit || u.abortOnFailure) {
		return usage(cmd, errors.New("--detach and --wait return before a service ends: leave out "+
			"--exit-code-from and those that begin with --abort"))
	}
	u.o.Timeout = time.Duration(u.timeout) * time.Second
	plan, err := u.plan(cmd)
	if err != nil {
		return failed(code, err)
	}
	if u.exitCodeFrom != "" && !slices.ContainsFunc(plan.Services,
		func(s project.Service) bool { return s.Name == u.exitCodeFrom }) {
		return failed(code, fmt.Errorf("--exit-code-from %s: no such service", u.exitCodeFrom))
	}
	runtime, err := coordinator.RuntimeDir()
	if err != nil {
		return err
	}
	d, err := project.Make(runtime, plan.Name)
	if err != nil {
		return err
	}
	boxer, err := boxerBeside()
	if err != nil {
		return err
	}
	c, err := project.Start(d, boxer)
	if err != nil {
		return err
	}
	s := &session{u: u, c: c, d: d, plan: plan, err: cmd.ErrOrStderr(),
		out: cmd.OutOrStdout(), died: make(map[string]bool), began: time.Now()}
	return s.run(cmd.Context(), code)
}

// failed sets the exit code of a project that is not started.
func failed(code *int, err error) error {
	*code = 1
	return err
}

// A session is one boxer up.
type session struct {
	u    *upFlags
	c    *project.Client
	d    project.Dir
	plan project.Plan

	began    time.Time
	out, err io.Writer

	mu      sync.Mutex
	died    map[string]bool // instances that have ended for good
	first   int             // the exit code of the first service that has failed
	ended   string          // the instance because of which all are stopped
	code    int             // its exit code
	stopped bool            // by a signal
}

func (s *session) run(ctx context.Context, code *int) error {
	// The end of ctx, which a signal brings, must not end this process first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go s.passSignals(ctx, signals)
	watching := make(chan struct{})
	watched := make(chan struct{})
	events, endEvents := context.WithCancel(ctx)
	defer endEvents()
	go func() {
		defer close(watched)
		_ = s.c.Watch(events, func() { close(watching) }, s.event)
	}()
	select {
	case <-watching:
	case <-watched:
	}
	var follow *project.LogFilter
	if !s.u.detach {
		follow = &project.LogFilter{Tail: 0, Instances: s.shown()}
	}
	tell := func(text string) {
		if text == project.UpMessage {
			text = "network: boxer run --join @" + s.d.Join() + " takes part in it"
			if s.plan.Join != "" {
				return
			}
		}
		fmt.Fprintln(s.err, "boxer:", text)
	}
	err := s.c.Up(ctx, s.plan, s.u.o, follow, tell, s.u.lines.printer(s.out, s.names()))
	if s.u.detach {
		if err == nil && s.u.wait {
			err = s.waitHealthy(ctx)
		}
		if err != nil {
			return failed(code, err)
		}
		return nil
	}
	s.awaitEvents(ctx)
	endEvents()
	<-watched
	if quit := s.c.Quit(ctx); quit != nil && err == nil && !s.isStopped() {
		fmt.Fprintln(s.err, "boxer: what else runs goes on:", quit)
	}
	*code = s.exitCode()
	if err != nil && !s.isStopped() {
		if *code == 0 {
			*code = 1
		}
		return err
	}
	return nil
}

func (s *session) waitHealthy(ctx context.Context) error {
	if d := s.u.waitTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d,
			fmt.Errorf("--wait-timeout %v is over", d))
		defer cancel()
	}
	return s.c.Wait(ctx, s.u.o.Services)
}

// names returns the names of the instances, for the width of the prefix.
func (s *session) names() (names []string) {
	for _, svc := range s.plan.Services {
		for i := range svc.Count {
			names = append(names, fmt.Sprintf("%s-%d", svc.Name, i+1))
		}
	}
	return names
}

// shown returns the services whose output is shown.
func (s *session) shown() (names []string) {
	for _, svc := range s.plan.Services {
		if svc.Quiet || slices.Contains(s.u.noAttach, svc.Name) || len(s.u.attach) > 0 &&
			!slices.Contains(s.u.attach, svc.Name) {
			continue
		}
		names = append(names, svc.Name)
	}
	return names
}

// passSignals stops the services at the first signal, and kills them at the second.
func (s *session) passSignals(ctx context.Context, signals <-chan os.Signal) {
	for n := 0; ; n++ {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		s.stopped = true
		s.mu.Unlock()
		if s.u.detach {
			os.Exit(130) // what was asked for goes on
		}
		if n == 0 {
			fmt.Fprintln(s.err, "boxer: stopping; press Ctrl-C again to kill")
			go func() { _ = s.c.Stop(ctx, s.u.o.Services, s.u.o.Timeout) }()
			continue
		}
		_ = s.c.Kill(ctx, s.u.o.Services, unix.SIGKILL)
	}
}

func (s *session) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// event tells the progress, and stops all if that is wanted.
func (s *session) event(e project.Event) error {
	text := map[string]string{"create": "", "start": "started", "stop": "stopped",
		"kill": "killed", "restart": "restarts", "destroy": "removed",
		"wait":   "waits for " + e.Attributes["for"],
		"die":    "exited with code " + e.Attributes["exitCode"],
		"failed": e.Attributes["error"]}[e.Action]
	if text == "" {
		text = strings.TrimPrefix(e.Action, "health_status: ")
	}
	if e.Action != "create" {
		fmt.Fprintf(s.err, "boxer: %s %s\n", e.Instance, text)
	}
	if e.Action != "die" || e.Attributes["again"] != "" {
		return nil
	}
	n, _ := strconv.Atoi(e.Attributes["exitCode"])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.died[e.Instance] = true
	if s.first == 0 && !s.stopped && s.ended == "" {
		s.first = n
	}
	if s.ended == "" && (e.Service == s.u.exitCodeFrom || s.u.abortOnExit ||
		s.u.abortOnFailure && n != 0) {
		s.ended, s.code = e.Instance, n
		go func() { _ = s.c.Stop(context.Background(), nil, s.u.o.Timeout) }()
	}
	return nil
}

// eventPatience bounds the wait for events of what has ended already.
const eventPatience = 2 * time.Second

// awaitEvents waits until the ends of all instances are told: they come by a connection
// of their own.
func (s *session) awaitEvents(ctx context.Context) {
	states, err := s.c.State(ctx, nil)
	if err != nil {
		return
	}
	for end := time.Now().Add(eventPatience); time.Now().Before(end); {
		s.mu.Lock()
		all := true
		for _, i := range states {
			all = all && (i.State != project.Exited || i.Ended.Before(s.began) ||
				i.Started.IsZero() || s.died[i.Name])
		}
		s.mu.Unlock()
		if all {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *session) exitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != "":
		return s.code
	case s.stopped:
		return 128 + int(unix.SIGINT)
	}
	return s.first
}

func configCommand() *cobra.Command {
	var p projectFlags
	var services, volumes, quiet bool
	var format string
	cmd := &cobra.Command{
		Use:     "config [flags] [SERVICE...]",
		Aliases: []string{"convert"},
		Short:   "Show a compose file as boxer up sees it",
		Long: `Check compose files, and show them as one file: merged, with variables filled in. The
values of secrets are not shown.`,
		Example: "  boxer config --services",
		RunE: func(cmd *cobra.Command, args []string) error {
			model, err := p.load(cmd.Context(), say(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if model, err = model.WithSelectedServices(args); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			var b []byte
			switch {
			case quiet:
				return nil
			case services:
				b = []byte(strings.Join(append(model.ServiceNames(), ""), "\n"))
			case volumes:
				b = []byte(strings.Join(append(model.VolumeNames(), ""), "\n"))
			case format == "json":
				b, err = model.MarshalJSON()
			case format == "yaml":
				b, err = model.MarshalYAML()
			default:
				return fmt.Errorf("--format %q: use yaml or json", format)
			}
			if err == nil {
				_, err = out.Write(b)
			}
			return err
		},
	}
	p.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&services, "services", false, "only the names of the services")
	f.BoolVar(&volumes, "volumes", false, "only the names of the volumes")
	f.BoolVarP(&quiet, "quiet", "q", false, "only check the files")
	f.StringVar(&format, "format", "yaml", "`FORMAT`: yaml or json")
	return cmd
}
