package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// Controls is where the hosts' ends of control connections arrive.
type Controls interface {
	Addr() netip.AddrPort // for Control.Address

	// Accept waits for a connection. Its error ends the acceptance of connections.
	Accept() (io.ReadWriteCloser, error)
}

// A RunConfig says how Run runs an order.
type RunConfig struct {
	Order Order // without Control and Output, which are Run's

	// Count is how many processes are to run, and Extra how many more are asked for:
	// the first Count that arrive run, and the others are released.
	Count, Extra int

	Stdin          io.Reader // of the process, if Count is 1; nil: empty
	Stdout, Stderr io.Writer

	// Signals are passed on to the processes. The third SIGINT or SIGTERM gives them
	// up.
	Signals <-chan os.Signal

	// Progress is told what happens; nil: nobody is.
	Progress func(string)
}

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// Run runs an order on a host and returns the exit code of the program; of several, the
// first that is not 0. The error says what went wrong besides. Whatever way Run returns,
// the processes have ended, or get SIGTERM, since their control connections end.
func Run(ctx context.Context, h Host, c Controls, cfg RunConfig) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{cfg: cfg, host: h, controls: c, cancel: cancel}
	if err := r.start(ctx); err != nil {
		return exitBoxer, err
	}
	go r.accept()
	defer r.closeControls()
	go r.passSignals(ctx)
	return r.wait()
}

// A run is one call of Run.
type run struct {
	cfg      RunConfig
	host     Host
	controls Controls
	cancel   context.CancelFunc
	jobs     []*job

	out sync.Mutex // held while a line of one of several processes is written

	mu      sync.Mutex
	chosen  int // processes that may run
	ended   bool
	stopped int // SIGINT and SIGTERM so far
}

// A job is one process of a run.
type job struct {
	index   int
	key     string
	process Process

	// Guarded by run.mu.
	control io.Closer // nil: none yet
	w       *Writer
	pending []syscall.Signal // until there is a control connection
	chosen  bool
	spare   bool // enough others have arrived
}

// start gives the host the orders.
func (r *run) start(ctx context.Context) error {
	n := r.cfg.Count + r.cfg.Extra
	for i := range n {
		key := make([]byte, 16)
		if _, err := rand.Read(key); err != nil {
			return err
		}
		j := &job{index: i, key: hex.EncodeToString(key)}
		o := r.cfg.Order
		o.Output = OutputFrames
		o.Control = &Control{Address: r.controls.Addr().String(), Key: j.key,
			Hold: r.cfg.Extra > 0}
		r.jobs = append(r.jobs, j)
		out := Streams{Stdout: r.cfg.Stdout, Stderr: r.cfg.Stderr}
		if n > 1 {
			out.Stdout = newPrefixer(&r.out, r.cfg.Stdout, r.label(j))
			out.Stderr = newPrefixer(&r.out, r.cfg.Stderr, r.label(j))
		}
		p, err := r.host.Start(ctx, o, out)
		if err != nil {
			return err
		}
		j.process = p
	}
	return nil
}

// label names a process among several.
func (r *run) label(j *job) string {
	name := r.cfg.Order.Node.Name
	if name == "" {
		name = "node"
	}
	return fmt.Sprintf("%s/%d", name, j.index)
}

func (r *run) say(format string, args ...any) {
	if r.cfg.Progress != nil {
		r.cfg.Progress(fmt.Sprintf(format, args...))
	}
}

// wait waits for the processes.
func (r *run) wait() (code int, err error) {
	var errs []error
	for _, j := range r.jobs {
		result, err := j.process.Wait()
		r.mu.Lock()
		spare := j.spare
		r.mu.Unlock()
		if spare {
			continue // how it ends means nothing
		}
		if err == nil && result.Error != "" {
			err = fmt.Errorf("%v: %s", r.host, result.Error)
		}
		if err != nil && len(r.jobs) > 1 {
			err = fmt.Errorf("%s: %w", r.label(j), err)
		}
		errs = append(errs, err)
		if code == 0 {
			code = result.Code
		}
	}
	return code, errors.Join(errs...)
}

// passSignals passes signals on until ctx ends.
func (r *run) passSignals(ctx context.Context) {
	for {
		select {
		case s := <-r.cfg.Signals:
			if s, ok := s.(syscall.Signal); ok {
				r.signal(s)
			}
		case <-ctx.Done():
			return
		}
	}
}

// givenUp is how many SIGINT and SIGTERM give the processes up.
const givenUp = 3

// signal passes a signal on to all processes.
func (r *run) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s == syscall.SIGINT || s == syscall.SIGTERM {
		r.stopped++
	}
	if r.stopped >= givenUp {
		r.cancel()
		return
	}
	waiting := 0
	for _, j := range r.jobs {
		if j.spare {
			continue
		}
		if j.w == nil {
			j.pending = append(j.pending, s)
			waiting++
		} else {
			go j.w.Write(Signal, []byte{byte(s)}) // a peer that is gone takes none
		}
	}
	if waiting > 0 && r.stopped > 0 {
		r.say("%d of %d have not arrived yet and get the signal then; %d more give them up",
			waiting, len(r.jobs), givenUp-r.stopped)
	}
}

// closeControls ends the control connections.
func (r *run) closeControls() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, j := range r.jobs {
		if j.control != nil {
			j.control.Close()
		}
	}
}
