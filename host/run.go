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
	"slices"
	"sync"
	"syscall"
	"time"
)

// Controls is where the hosts' ends of control connections arrive.
type Controls interface {
	Addr() netip.AddrPort // for Control.Address

	// Accept waits for a connection. Its error ends the acceptance of connections.
	Accept() (Conn, error)
}

// A Conn is a control connection.
type Conn interface {
	io.ReadWriteCloser
	Peer() uint32 // the id of the node at the other end
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

	Life Life // how long the processes live

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
	r := &run{cfg: cfg, host: h, controls: c, ctx: ctx, cancel: cancel}
	if err := r.start(); err != nil {
		return exitBoxer, err
	}
	go r.accept()
	defer r.closeControls()
	go r.passSignals(ctx)
	return r.wait()
}

// signalBacklog is how many signals may wait for a control connection that is slow.
const signalBacklog = 64

// A run is one call of Run.
type run struct {
	cfg      RunConfig
	host     Host
	controls Controls
	ctx      context.Context // ends with Run, and when the processes are given up
	cancel   context.CancelFunc

	out sync.Mutex // held while a line of one of several processes is written

	mu      sync.Mutex
	jobs    []*job // with those that have been replaced
	chosen  int    // processes that may run
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
	pending []syscall.Signal    // until there is a control connection
	signals chan syscall.Signal // for the control connection, once there is one

	chosen   bool
	spare    bool // enough others have arrived
	replaced bool // a successor has taken its place

	flush func() // writes what is left of its output

	attached chan struct{} // closed when there is a control connection
	peer     uint32        // its node, set before attached is closed
}

// start gives the host the orders.
func (r *run) start() error {
	for i := range r.cfg.Count + r.cfg.Extra {
		if _, err := r.order(i, r.cfg.Extra > 0); err != nil {
			return err
		}
	}
	return nil
}

// order gives the host one order, for the process of that index.
func (r *run) order(index int, hold bool) (*job, error) {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	j := &job{index: index, key: hex.EncodeToString(key), attached: make(chan struct{}),
		signals: make(chan syscall.Signal, signalBacklog),
		chosen:  !hold}
	o := r.cfg.Order
	o.Output = OutputFrames
	o.Control = &Control{Address: r.controls.Addr().String(), Key: j.key, Hold: hold}
	out := Streams{Stdout: r.cfg.Stdout, Stderr: r.cfg.Stderr}
	j.flush = func() {}
	if r.cfg.Count+r.cfg.Extra > 1 {
		stdout := newPrefixer(&r.out, r.cfg.Stdout, r.label(j))
		stderr := newPrefixer(&r.out, r.cfg.Stderr, r.label(j))
		out = Streams{Stdout: stdout, Stderr: stderr}
		j.flush = func() { stdout.flush(); stderr.flush() }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.host.Start(r.ctx, o, out) // returns at once
	if err != nil {
		return nil, err
	}
	j.process = p
	r.jobs = append(r.jobs, j)
	return j, nil
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
	type outcome struct {
		result Result
		err    error
	}
	first := slices.Clone(r.jobs)
	outcomes := make([]outcome, len(first))
	var all sync.WaitGroup
	for i, j := range first {
		all.Go(func() { outcomes[i].result, outcomes[i].err = r.live(j) })
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-r.ctx.Done():
		select {
		case <-ended:
		case <-time.After(givenUpWithin): // such as one whose output nobody reads
			return exitInterrupted, errors.New("the processes were given up")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i, o := range outcomes {
		if first[i].spare {
			continue // how it has ended means nothing
		}
		if o.err == nil && o.result.Error != "" {
			o.err = fmt.Errorf("%v: %s", r.host, o.result.Error)
		}
		if o.err != nil && len(first) > 1 {
			o.err = fmt.Errorf("%s: %w", r.label(first[i]), o.err)
		}
		errs = append(errs, o.err)
		if code == 0 {
			code = o.result.Code
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

// givenUpWithin is how long processes that are given up may take to end, and
// exitInterrupted the exit code if one does not: that of a program that SIGINT has ended.
const (
	givenUpWithin   = 2 * time.Second
	exitInterrupted = 128 + int(syscall.SIGINT)
)

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
		if j.spare || j.replaced {
			continue
		}
		if !j.send(s) {
			waiting++
		}
	}
	if waiting > 0 && r.stopped > 0 {
		r.say("%d of %d have not arrived yet and get the signal then; %d more give them up",
			waiting, len(r.jobs), givenUp-r.stopped)
	}
}

// send sends a signal, or keeps it until there is a control connection, and then returns
// false. It is called with run.mu held.
func (j *job) send(s syscall.Signal) bool {
	if j.w == nil {
		j.pending = append(j.pending, s)
		return false
	}
	select {
	case j.signals <- s:
	default: // nobody takes them
	}
	return true
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
