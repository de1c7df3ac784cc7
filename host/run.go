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

// Controls accepts the hosts' control connections.
type Controls interface {
	Addr() netip.AddrPort // for Control.Address

	// Accept waits for a connection. After an error, it is not called again.
	Accept() (Conn, error)
}

// A Conn is a control connection.
type Conn interface {
	io.ReadWriteCloser
	Peer() uint32 // node-ID of the other end
}

// A RunConfig says how Run runs an order.
type RunConfig struct {
	Order Order // Run sets Control and Output

	// Count processes run. Extra is how many more orders are sent: the first Count
	// processes that connect run, and Run releases the others.
	Count, Extra int

	Stdin          io.Reader // of the process, if Count is 1; nil: empty
	Stdout, Stderr io.Writer

	// Signals are forwarded to the processes. After the third SIGINT or SIGTERM, Run does
	// not wait for them any more.
	Signals <-chan os.Signal

	Life Life // how long the processes live

	// Keep has the processes go on when this one dies or loses the network.
	Keep bool

	// Attached is called once, when Count processes have connected, with their nodes'
	// ids; nil: it is not.
	Attached func(nodes []uint32)

	// Progress is called with messages for the user; nil: there are none.
	Progress func(string)
}

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// Run runs an order on a host and returns the exit code of the program, or the first that
// is not 0 of several. The error says what else went wrong. When Run returns, the
// processes have ended or get SIGTERM, because their control connections end.
func Run(ctx context.Context, h Host, c Controls, cfg RunConfig) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{cfg: cfg, host: h, controls: c, ctx: ctx, cancel: cancel}
	if err := r.start(); err != nil {
		return exitBoxer, err
	}
	go r.accept() // ends when the caller closes c
	defer r.closeControls()
	var passing sync.WaitGroup
	passing.Go(func() { r.passSignals(ctx) })
	defer func() { cancel(); passing.Wait() }()
	return r.wait()
}

// signalBacklog bounds the signals that wait for a slow control connection.
const signalBacklog = 64

// A run is one call of Run.
type run struct {
	cfg      RunConfig
	host     Host
	controls Controls
	ctx      context.Context // ends with Run, or when Run stops to wait for the processes
	cancel   context.CancelFunc

	out sync.Mutex // held while a line of one of several processes is written

	mu      sync.Mutex
	jobs    []*job // including replaced ones
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
	spare    bool // not needed: enough others have connected
	replaced bool // a successor has taken its place

	flush func() // writes the rest of its output

	attached chan struct{} // closed when there is a control connection
	peer     uint32        // its node, set before attached is closed
}

// start sends the host the orders.
func (r *run) start() error {
	for i := range r.cfg.Count + r.cfg.Extra {
		if _, err := r.order(i, r.cfg.Extra > 0); err != nil {
			return err
		}
	}
	return nil
}

// order sends the host the order for the process of that index.
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
	o.Control = &Control{Address: r.controls.Addr().String(), Key: j.key, Hold: hold,
		Keep: r.cfg.Keep}
	out := Streams{Stdout: r.cfg.Stdout, Stderr: r.cfg.Stderr}
	j.flush = func() {}
	if r.cfg.Count+r.cfg.Extra > 1 {
		stdout := NewPrefixer(&r.out, r.cfg.Stdout, r.label(j))
		stderr := NewPrefixer(&r.out, r.cfg.Stderr, r.label(j))
		out = Streams{Stdout: stdout, Stderr: stderr}
		j.flush = func() { stdout.Flush(); stderr.Flush() }
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
	go func() { all.Wait(); close(ended) }() // ends with the processes
	select {
	case <-ended:
	case <-r.ctx.Done():
		select {
		case <-ended:
		case <-time.After(givenUpWithin): // a process may wait for the reader of its output
			return exitInterrupted, errors.New("the processes were given up")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i, o := range outcomes {
		if first[i].spare {
			continue // the result of a process that was not needed does not count
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

// passSignals forwards signals until ctx ends.
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

// givenUpWithin is how long Run waits for processes after the third SIGINT or SIGTERM.
// exitInterrupted is its exit code if one of them has not ended: that of a program that
// SIGINT ended.
const (
	givenUpWithin   = 2 * time.Second
	exitInterrupted = 128 + int(syscall.SIGINT)
)

// givenUp is the number of SIGINT and SIGTERM after which Run does not wait any more.
const givenUp = 3

// signal forwards a signal to all processes.
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

// send sends a signal. Without a control connection it keeps the signal for later and
// returns false. The caller holds run.mu.
func (j *job) send(s syscall.Signal) bool {
	if j.w == nil {
		j.pending = append(j.pending, s)
		return false
	}
	select {
	case j.signals <- s:
	default: // the connection is too slow: drop the signal
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
