package coordinator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

func TestLimits(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		l := newLimits()
		// A node that wants a thousand others at once is not held up.
		began := time.Now()
		for to := range uint32(1000) {
			if _, err := l.wait(t.Context(), 600); err != nil || !l.signal(to) {
				t.Fatalf("offer %d was refused (%v)", to, err)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("1000 offers took %v", d)
		}
		// One that sends without end is slowed down, and loses nothing.
		const more = 20000
		for range more {
			if _, err := l.wait(t.Context(), 600); err != nil {
				t.Fatal(err)
			}
		}
		want := time.Duration(more+1000-messageBurst) * time.Second / messageRate
		if d := time.Since(began); (d - want).Abs() > 10*time.Millisecond {
			t.Errorf("%d messages took %v, want %v", more, d, want)
		}
		// Large ones count for more.
		began = time.Now()
		for range 10 {
			l.wait(t.Context(), 1<<20)
		}
		if d := time.Since(began); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("10 MiB took %v, want 10 s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if slowed, err := l.wait(ctx, 1<<20); !slowed ||
			!errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v, %v", slowed, err)
		}
	})
}

// A node changes its presence as often as a busy function sleeps and wakes, and no more.
func TestLimitOfPresence(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		fn := guestNamed(t, l, "fn")
		began := time.Now()
		const more = 4 * presenceRate
		for i := range presenceBurst + more {
			if err := fn.SetPresence(within(t, patience),
				Presence{Unlisted: i%2 == 0}); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 3*time.Second || d > 5*time.Second {
			t.Errorf("%d changes took %v, want 4 s", presenceBurst+more, d)
		}
	})
}

func TestLimitOfPair(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		l := newLimits()
		passed := func(to uint32, n int) (passed int) {
			for range n {
				if l.signal(to) {
					passed++
				}
			}
			return passed
		}
		if n := passed(1, 1000); n != signalBurst {
			t.Errorf("%d of 1000 at once were passed on", n)
		}
		if n := passed(2, 10); n != 10 {
			t.Errorf("%d of 10 to another node were passed on", n)
		}
		time.Sleep(time.Second)
		if n := passed(1, 1000); n != signalRate {
			t.Errorf("%d a second later", n)
		}
		if !l.mayWarn() || l.mayWarn() {
			t.Error("the log says it never, or twice")
		}
		time.Sleep(warnInterval)
		if !l.mayWarn() {
			t.Error("the log says it only once")
		}
		// Memory is bounded, also for one that signals every id there is.
		for to := range uint32(10 * maxPairs) {
			l.signal(to)
			time.Sleep(time.Second / messageRate)
		}
		if n := len(l.signals); n > maxPairs {
			t.Errorf("%d receivers are remembered", n)
		}
		if !l.signal(1) {
			t.Error("nothing passes any more")
		}
	})
}

// One member that floods another one does not keep others from reaching it.
func TestSignalFlood(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Lease: time.Minute, Logger: quiet})
		u := l.url(t)
		victim, friend := mustEnter(t, u, "victim"), mustEnter(t, u, "friend")
		to := victim.Self().ID
		// It does not wait for receipts, as Client.Signal does.
		evil := newStranger(t, l)
		evil.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token,
			Name: "evil"}}))
		const flood = 2000
		var frames []byte
		for seq := range uint64(flood) {
			frames = append(frames, frame(&message{Signal: &signal{Seq: seq + 1, Node: to,
				Data: []byte("flood")}})...)
		}
		began := time.Now()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			evil.send(frames)
		}()
		for i := range 20 {
			if err := friend.Signal(within(t, patience), to, []byte("friend")); err != nil {
				t.Errorf("signal %d: %v", i, err)
			}
		}
		for got := 0; got < 20; {
			select {
			case s := <-victim.signals:
				if string(s.Data) == "friend" {
					got++
				}
			case <-time.After(patience):
				t.Fatalf("%d of 20 came", got)
			}
		}
		_ = evil.stream.SetReadDeadline(time.Now().Add(2 * patience))
		passed := 0
		for receipts := 0; receipts < flood; {
			m, err := readMessage(evil.stream, maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			if m.Ack != nil {
				if receipts++; m.Ack.Code == "" {
					passed++
				}
			}
		}
		<-sent
		if most := signalBurst + int(time.Since(began).Seconds()*signalRate) +
			1; passed > most {
			t.Errorf("%d of %d were passed on, want at most %d", passed, flood, most)
		}
	})
}

// Signals of a node that has left are not passed on: its id may be another's by now.
func TestSignalOfOneWhoLeft(t *testing.T) {
	o := newSendQueue()
	here, left := new(session), new(session)
	o.addSignal(left, []byte("old"))
	o.tryAdd([]byte("receipt"))
	o.addSignal(here, []byte("new"))
	left.left.Store(true)
	if got := o.drain(); len(got) != 2 || string(got[0]) != "receipt" ||
		string(got[1]) != "new" {
		t.Errorf("got %q", got)
	}
	for range 2 * sendQueueShare {
		o.addSignal(here, nil)
	}
	if o.addSignal(here, nil) || !o.addSignal(left, nil) {
		t.Error("one node takes the share of another, or has none")
	}
	if n := len(o.frames); n != sendQueueShare+1 {
		t.Errorf("%d frames wait", n)
	}
}
