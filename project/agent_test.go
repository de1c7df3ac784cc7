package project

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A slowNode starts a command when it is told to.
type slowNode struct {
	start chan struct{} // closed: Exec returns
	runs  *endless
}

func (n *slowNode) Ready() Ready { return Ready{Name: "slow"} }

func (n *slowNode) Exec(_ context.Context, c Command) (Execution, error) {
	if c.Argv[0] == "none" {
		return nil, &ExecError{127, "there is no such command"}
	}
	<-n.start
	return n.runs, nil
}

// An endless command runs until SIGKILL.
type endless struct {
	signals chan unix.Signal
	ended   <-chan struct{} // closed: the test has ended
	got     []unix.Signal
}

func (e *endless) Wait() int {
	for {
		select {
		case sig := <-e.signals:
			if e.got = append(e.got, sig); sig == unix.SIGKILL {
				return 128 + int(sig)
			}
		case <-e.ended:
			return 0
		}
	}
}

func (e *endless) Signal(sig unix.Signal) error {
	e.signals <- sig
	return nil
}

// TestSignalBeforeStart sends a command signals before it has started. It gets them when
// it has. A lost SIGKILL would leave a health check that hangs, and its instance
// unchecked.
func TestSignalBeforeStart(t *testing.T) {
	ours, theirs := connPair(t)
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	n := &slowNode{make(chan struct{}),
		&endless{signals: make(chan unix.Signal, 8), ended: ended}}
	a, err := ServeAgent(f, n)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer close(ended)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_ = ours.SetReadDeadline(time.Now().Add(patience))
	receive := func() (r agentReply) {
		t.Helper()
		if _, err := ours.receive(&r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	send := func(r agentRequest, files ...*os.File) {
		t.Helper()
		if err := ours.send(r, files...); err != nil {
			t.Fatal(err)
		}
	}
	if r := receive(); r.Ready == nil {
		t.Fatalf("%+v; want Ready", r)
	}
	send(agentRequest{ID: 1, Command: Command{Argv: []string{"check"}}}, null, null, null)
	send(agentRequest{ID: 1, Signal: int(unix.SIGUSR1)})
	send(agentRequest{ID: 1, Signal: int(unix.SIGKILL)})
	// The agent takes requests in order. When it answers this one, it has the signals.
	send(agentRequest{ID: 2, Command: Command{Argv: []string{"none"}}}, null, null, null)
	if r := receive(); r.ID != 2 || r.Code != 127 {
		t.Fatalf("%+v; want that the second command is not started", r)
	}
	close(n.start)
	if r := receive(); r.ID != 1 || r.Code != 128+int(unix.SIGKILL) {
		t.Errorf("%+v; want the end of the first command", r)
	}
	a.Close()
	want := []unix.Signal{unix.SIGUSR1, unix.SIGKILL}
	if !slices.Equal(n.runs.got, want) {
		t.Errorf("the command has got %v, want %v", n.runs.got, want)
	}
}
