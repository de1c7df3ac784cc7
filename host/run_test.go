package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// A fakeHost runs orders as a function does, in goroutines: program is what each runs.
type fakeHost struct {
	conns   chan Conn
	closed  chan struct{}
	program func(p *fakeProcess) Result

	mu       sync.Mutex
	fails    int // the number of the process that fails at once
	ordered  int
	started  int
	released int
}

func newFakeHost(program func(p *fakeProcess) Result) *fakeHost {
	return &fakeHost{conns: make(chan Conn), closed: make(chan struct{}),
		program: program}
}

// Addr, Accept: Controls.
func (h *fakeHost) Addr() netip.AddrPort { return netip.MustParseAddrPort("10.0.0.1:7") }

func (h *fakeHost) Accept() (Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// String, Start: Host.
func (h *fakeHost) String() string { return "fake:host" }

func (h *fakeHost) Start(_ context.Context, o Order, out Streams) (Process, error) {
	h.mu.Lock()
	h.ordered++
	p := &fakeProcess{host: h, number: h.ordered, order: o, out: out,
		released: make(chan struct{}), done: make(chan struct{})}
	failing := p.number == h.fails
	h.mu.Unlock()
	if failing {
		p.result = Result{Code: 125, Error: "throttled"}
		close(p.done)
		return p, nil
	}
	go p.run()
	return p, nil
}

// A fakeConn is a control connection of a node.
type fakeConn struct {
	net.Conn
	peer uint32
}

// Peer implements Conn.
func (c fakeConn) Peer() uint32 { return c.peer }

// A fakeProcess is a process of a fakeHost.
type fakeProcess struct {
	host     *fakeHost
	order    Order
	out      Streams
	released chan struct{}
	done     chan struct{}
	number   int // from 1
	result   Result

	r *Reader
	w *Writer
}

func (p *fakeProcess) Wait() (Result, error) { <-p.done; return p.result, nil }
func (p *fakeProcess) Release() {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.released++
	close(p.released)
}

// run connects, waits until it may start, and runs the program.
func (p *fakeProcess) run() {
	defer close(p.done)
	ours, theirs := net.Pipe()
	defer ours.Close()
	p.r, p.w = NewReader(ours), NewWriter(ours)
	select {
	case p.host.conns <- fakeConn{theirs, uint32(p.number)}:
	case <-p.released:
		return
	}
	if p.w.Write(Key, []byte(p.order.Control.Key)) != nil {
		return
	}
	if p.order.Control.Hold && p.next(Start) == nil {
		return // released: it reads the end of the connection
	}
	p.host.mu.Lock()
	p.host.started++
	p.host.mu.Unlock()
	p.result = p.host.program(p)
}

// next reads frames until one of a kind; nil: the connection has ended.
func (p *fakeProcess) next(kind Kind) []byte {
	for {
		k, b, err := p.r.Read()
		if err != nil {
			return nil
		}
		if k == kind {
			return append([]byte{}, b...)
		}
	}
}

func TestRunInput(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		text := strings.Repeat("0123456789", 200_000) // more than the first credit
		h := newFakeHost(func(p *fakeProcess) Result {
			for {
				b := p.next(Stdin)
				if len(b) == 0 {
					return Result{Code: 3}
				}
				p.out.Stdout.Write(b)
				p.w.Write(Credit, nil)
			}
		})
		defer close(h.closed)
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"cat"}}, Count: 1,
				Stdin: strings.NewReader(text), Stdout: &out, Stderr: io.Discard})
		if code != 3 || err != nil || out.String() != text {
			t.Errorf("code %d, %v, %d bytes", code, err, out.Len())
		}
	})
}

func TestRunSignals(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		h := newFakeHost(func(p *fakeProcess) Result {
			return Result{Code: 128 + int(p.next(Signal)[0])}
		})
		defer close(h.closed)
		signals := make(chan os.Signal, 1)
		signals <- syscall.SIGTERM // before anything is there
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"sleep"}}, Count: 1,
				Stdout: io.Discard, Stderr: io.Discard, Signals: signals})
		if code != 143 || err != nil {
			t.Errorf("code %d, %v", code, err)
		}
	})
}

func TestRunExtra(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newFakeHost(func(p *fakeProcess) Result {
			io.WriteString(p.out.Stdout, "half a ")
			io.WriteString(p.out.Stdout, "line\n")
			return Result{}
		})
		defer close(h.closed)
		code, err := Run(t.Context(), h, h, RunConfig{Order: Order{Argv: []string{"work"},
			Node: Node{Name: "w"}}, Count: 3, Extra: 4, Stdout: &out, Stderr: io.Discard})
		if code != 0 || err != nil || strings.Count(out.String(),
			" | half a line\n") != 3 {
			t.Errorf("code %d, %v, %q", code, err, &out)
		}
		if h.started != 3 || h.released != 4 {
			t.Errorf("%d have started, %d are released", h.started, h.released)
		}
	})
}

func TestRunFailures(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		code := 0
		h := newFakeHost(func(*fakeProcess) Result {
			mu.Lock()
			defer mu.Unlock()
			code++
			return Result{Code: code, Error: "it broke"}
		})
		defer close(h.closed)
		got, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"work"}}, Count: 2,
				Stdout: io.Discard, Stderr: io.Discard})
		if got == 0 || err == nil || strings.Count(err.Error(), "it broke") != 2 ||
			!strings.Contains(err.Error(), "node/1: fake:host: it broke") {
			t.Errorf("%d, %v", got, err)
		}
	})
}

// TestStrangers connects without a key, and with a wrong one.
func TestStrangers(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		h := newFakeHost(func(*fakeProcess) Result { <-stop; return Result{} })
		defer close(h.closed)
		ended := make(chan error, 1)
		go func() {
			_, err := Run(t.Context(), h, h,
				RunConfig{Order: Order{Argv: []string{"work"}}, Count: 1,
					Stdout: io.Discard, Stderr: io.Discard})
			ended <- err
		}()
		for _, first := range []func(*Writer){
			func(w *Writer) { w.Write(Key, []byte("guess")) },
			func(w *Writer) { w.Write(Stdin, []byte("hello")) },
			func(*Writer) {}, // says nothing until its time is over
		} {
			ours, theirs := net.Pipe()
			h.conns <- fakeConn{theirs, 0}
			first(NewWriter(ours))
			if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a stranger reads %v", err)
			}
		}
		close(stop)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestReplace replaces a process twice, and then ends it.
func TestReplace(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		began := time.Now()
		var events []string
		var mu sync.Mutex
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf("%v ",
				time.Since(began))+fmt.Sprintf(format, args...))
		}
		h := newFakeHost(func(p *fakeProcess) Result {
			note("%d starts as %s", p.number, p.order.Node.Name)
			if p.number == 3 {
				time.Sleep(time.Minute)
				return Result{Code: 4}
			}
			if b := p.next(Signal); len(b) != 1 ||
				syscall.Signal(b[0]) != syscall.SIGTERM {
				t.Errorf("%d got the signal %v", p.number, b)
			}
			note("%d ends", p.number)
			return Result{Code: 143}
		})
		defer close(h.closed)
		code, err := Run(t.Context(), h, h, RunConfig{Order: Order{Argv: []string{"db"},
			Node: Node{Name: "db"}}, Count: 1, Stdout: io.Discard, Stderr: io.Discard,
			Life: Life{Max: 10 * time.Minute, AtLimit: Replace,
				Ready: func(_ context.Context, node uint32) error {
					time.Sleep(3 * time.Second)
					note("%d is ready", node)
					return nil
				}}})
		want := []string{"0s 1 starts as db", "10m0s 2 starts as db", "10m3s 2 is ready",
			"10m3s 1 ends", "20m3s 3 starts as db", "20m6s 3 is ready", "20m6s 2 ends"}
		if code != 4 || err != nil || !slices.Equal(events, want) {
			t.Errorf("code %d, %v, %q", code, err, events)
		}
	})
}

// TestSuccessorFails keeps a process until its end where no successor gets ready.
func TestSuccessorFails(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		h := newFakeHost(func(p *fakeProcess) Result {
			if p.number > 1 {
				return Result{Code: 1} // fails at once
			}
			time.Sleep(2 * time.Minute)
			return Result{Code: 5}
		})
		defer close(h.closed)
		var said []string
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"db"}}, Count: 1,
				Stdout: io.Discard, Stderr: io.Discard,
				Progress: func(s string) { said = append(said, s) },
				Life: Life{Max: time.Minute, AtLimit: Replace,
					Ready: func(ctx context.Context,
						_ uint32) error {
						<-ctx.Done()
						return ctx.Err()
					}}})
		if code != 5 || err != nil || !strings.Contains(strings.Join(said, "\n"),
			"its program has ended") {
			t.Errorf("code %d, %v, %q", code, err, said)
		}
	})
}

// TestLifeStop ends a process at its limit.
func TestLifeStop(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		h := newFakeHost(func(p *fakeProcess) Result {
			return Result{Code: 128 + int(p.next(Signal)[0])}
		})
		defer close(h.closed)
		began := time.Now()
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"db"}}, Count: 1,
				Stdout: io.Discard, Stderr: io.Discard,
				Life: Life{Max: time.Minute, AtLimit: Stop}})
		if took := time.Since(began); code != 143 || err != nil || took != time.Minute {
			t.Errorf("code %d, %v after %v", code, err, took)
		}
	})
}

// TestLastLine runs processes whose output does not end with a line's end.
func TestLastLine(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newFakeHost(func(p *fakeProcess) Result {
			io.WriteString(p.out.Stdout, "whole\nno end")
			return Result{}
		})
		defer close(h.closed)
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"x"}}, Count: 2,
				Stdout: &out, Stderr: io.Discard})
		if code != 0 || err != nil || strings.Count(out.String(), " | no end\n") != 2 {
			t.Errorf("code %d, %v, %q", code, err, &out)
		}
	})
}

// TestGivenUp gives up a process whose output nobody reads. Not in virtual time: what
// waits for a mutex there keeps the time from going on.
func TestGivenUp(t *testing.T) {
	r, w := io.Pipe()
	h := newFakeHost(func(p *fakeProcess) Result {
		io.WriteString(p.out.Stdout, "blocks")
		return Result{}
	})
	defer close(h.closed)
	defer r.Close()
	signals := make(chan os.Signal, 3)
	for range 3 {
		signals <- syscall.SIGINT
	}
	code, err := Run(t.Context(), h, h, RunConfig{Order: Order{Argv: []string{"x"}}, Count: 1,
		Stdout: w, Stderr: io.Discard, Signals: signals})
	if code != 130 || err == nil {
		t.Errorf("code %d, %v", code, err)
	}
}

// TestExtraFailsEarly has an order fail before the one arrives that was asked for.
func TestExtraFailsEarly(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		h := newFakeHost(func(*fakeProcess) Result {
			time.Sleep(time.Second)
			return Result{}
		})
		h.fails = 1
		defer close(h.closed)
		code, err := Run(t.Context(), h, h,
			RunConfig{Order: Order{Argv: []string{"x"}}, Count: 1,
				Extra: 1, Stdout: io.Discard, Stderr: io.Discard})
		if code != 0 || err != nil {
			t.Errorf("code %d, %v", code, err)
		}
	})
}
