// Command demolambda shows boxer in functions of AWS Lambda: PostgreSQL in one function
// serves pgbench in another, both started from a desk by boxer run --on.
//
//	demolambda BOXER JAIL
//
// No account of AWS is needed: the functions are those of a small Lambda (package
// lambdabox) in network namespaces, each behind a NAT of its own. It needs root, as the
// functions' programs run as another user. BOXER is the binary to show, beside which
// boxer-aws stands; JAIL is the program of internal/jail. Nothing is left at the end, nor
// after Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/lambdabox"
	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// patience bounds the whole demo.
const patience = 5 * time.Minute

// dir is for all files. It is in the lab's private /run, which ends with the process.
const dir = "/run/boxer-demo"

func main() {
	status, err := natlab.Inside(func() int {
		if err := show(); err != nil {
			fmt.Fprintln(os.Stderr, "demo-lambda:", err)
			return 1
		}
		return 0
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo-lambda: no network namespaces can be made:", err)
		status = 1
	}
	os.Exit(status)
}

// show plays the demo.
func show() (err error) {
	if len(os.Args) != 3 {
		return errors.New("usage: demolambda BOXER JAIL")
	}
	if err := natlab.Users(); err != nil {
		return fmt.Errorf("functions run as a user of their own, which takes root: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM,
		unix.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %v", patience))
	defer cancel()
	lab, err := natlab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	r, err := newRegion(ctx, lab, os.Args[1], os.Args[2])
	if err != nil {
		return err
	}
	defer r.close()
	return r.play(ctx)
}

// A region is where the demo plays.
type region struct {
	box       *lambdabox.Box
	server    *http.Server
	desk      *natlab.Host
	boxer     string
	environ   []string
	processes []*proctest.Process
}

// newRegion makes the region, with its coordinator.
func newRegion(ctx context.Context, lab *natlab.Lab, boxer, jail string) (*region, error) {
	public, err := lab.Public(ctx, "public")
	if err != nil {
		return nil, err
	}
	r := &region{boxer: boxer}
	if r.desk, err = lab.NATed(ctx, "desk", natlab.NAT{}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	machines := 0
	r.box = lambdabox.New(lambdabox.Config{Jail: jail, Dir: dir, Log: io.Discard,
		NewMachine: func(ctx context.Context, function string) (lambdabox.Machine, error) {
			machines++
			return lab.NATed(ctx, fmt.Sprintf("%s-%d", function, machines), natlab.NAT{})
		}})
	l, err := public.Listen(ctx, "tcp", public.Addr().String()+":9000")
	if err != nil {
		return nil, err
	}
	r.server = &http.Server{Handler: r.box}
	go r.server.Serve(l)
	r.environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C",
		"AWS_ENDPOINT_URL_LAMBDA=http://" + l.Addr().String(), "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=demo", "AWS_SECRET_ACCESS_KEY=demo", "AWS_EC2_METADATA_DISABLED=true"}
	return r, r.coordinator(ctx, public)
}

// coordinator starts the coordinator and learns how to join.
func (r *region) coordinator(ctx context.Context, public *natlab.Host) error {
	cmd := public.Command(ctx, r.boxer, "coordinator", "--listen",
		public.Addr().String()+":4433", "--state", filepath.Join(dir, "state"))
	cmd.Env = r.environ
	p, err := r.start("coordinator", cmd)
	if err != nil {
		return err
	}
	m, err := p.Out.Next(ctx, regexp.MustCompile(`(?m)^boxer://\S+$`))
	if err != nil {
		return fmt.Errorf("coordinator: %w: %s", err, p.Report())
	}
	r.environ = append(r.environ, "BOXER_JOIN="+m[0])
	return nil
}

// start starts a process, which close ends.
func (r *region) start(name string, cmd *exec.Cmd) (*proctest.Process, error) {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = proctest.StopPatience
	p, err := proctest.Start(name, cmd)
	if err == nil {
		r.processes = append(r.processes, p)
	}
	return p, err
}

// close ends all.
func (r *region) close() {
	for i := len(r.processes) - 1; i >= 0; i-- {
		r.processes[i].Stop(unix.SIGINT)
	}
	r.box.Close()
	r.server.Close()
}

// atDesk returns boxer with arguments, at the desk.
func (r *region) atDesk(ctx context.Context, args ...string) *exec.Cmd {
	cmd := r.desk.Command(ctx, r.boxer, args...)
	cmd.Env = r.environ
	return cmd
}
