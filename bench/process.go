package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// A process runs in the lab. Its output is read line by line, on demand.
type process struct {
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	said   bytes.Buffer // standard error; valid after done
	done   chan struct{}
	ending error
}

func startProcess(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Do not use StdoutPipe, because Wait closes it.
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer outEnd.Close()
	cmd.Stdout, cmd.Stderr = outEnd, &p.said
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	go func() {
		defer close(p.done)
		p.ending = cmd.Wait()
	}()
	return p, nil
}

// await waits for a line that begins with prefix and returns it.
func (p *process) await(prefix string) (string, error) {
	late := time.AfterFunc(startTimeout, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			return "", p.ended()
		}
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, prefix) {
			return line, nil
		}
	}
}

// first reads the result that a client writes after its first connection.
func (p *process) first() error {
	late := time.AfterFunc(startTimeout, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	_, err := p.answer()
	return err
}

// answer reads a result.
func (p *process) answer() (meter.Result, error) {
	var r meter.Result
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, p.ended()
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s: %w: %q", p.name, err, line)
	}
	if r.Failed != "" {
		return r, fmt.Errorf("%s: %s", p.name, r.Failed)
	}
	return r, nil
}

// orderWithin bounds how long an order may take. The longest orders are a million small
// writes, and round trips over a path that loses packets. On such a path, wireguard-go's
// connections can stall permanently.
var orderWithin = 5 * time.Minute

// order gives a client an order and waits for the result. It kills a client that does not
// answer in time.
func (p *process) order(o meter.Order) (meter.Result, error) {
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return meter.Result{}, fmt.Errorf("%s: %w", p.name, err)
	}
	late := time.AfterFunc(orderWithin, func() { _ = p.cmd.Process.Kill() })
	r, err := p.answer()
	if !late.Stop() && err != nil {
		err = fmt.Errorf("%s: no answer to the order %q within %v", p.name, o.Measure,
			orderWithin)
	}
	return r, err
}

// ended describes how the process ended.
func (p *process) ended() error {
	<-p.done
	return fmt.Errorf("%s has ended: %v: %s", p.name, p.ending,
		strings.TrimSpace(p.said.String()))
}

// stopTimeout bounds how long a process may take to end when asked.
const stopTimeout = 5 * time.Second

// stop sends the process an interrupt and waits for its end.
func (p *process) stop() {
	p.in.Close()
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
