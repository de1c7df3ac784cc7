// Package streamtest tests that an implementation of stream.Stream keeps its contract.
package streamtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
)

// A Pair makes the two ends of a connection. The test ends both.
type Pair func(t *testing.T) (a, b stream.Stream)

// Abilities are what a carrier may lack: see stream.Stream.
type Abilities struct {
	Urgent      bool // UrgentIn finds the peer's urgent bytes
	StopSending bool // the peer's CloseRead is told to the writer
	IPFields    bool // OnIPFields tells of the peer's
}

// within bounds what a test waits for: a Stream that hangs shall fail its test, and not
// the whole run. No test measures time.
const within = 2 * time.Minute

// Test runs the tests of the contract. Each gets a connection of its own from pair.
func Test(t *testing.T, can Abilities, pair Pair) {
	for _, tc := range []struct {
		name string
		skip bool
		run  func(t *testing.T, a, b stream.Stream)
	}{
		{"HalfClose", false, halfClose},
		{"Bulk", false, bulk},
		{"Reset", false, reset},
		{"ResetUnblocks", false, resetUnblocks},
		{"CloseReadUnblocks", false, closeReadUnblocks},
		{"WriteAfterCloseWrite", false, writeAfterCloseWrite},
		{"Wait", false, wait},
		{"WaitAtTheEnd", false, waitAtTheEnd},
		{"Flush", false, flush},
		{"StopSendingByReset", false, stopSendingByReset},
		{"StopSendingByCloseRead", !can.StopSending, stopSendingByCloseRead},
		{"StopSendingNotCalled", false, stopSendingNotCalled},
		{"Urgent", false, func(t *testing.T, a, b stream.Stream) { urgent(t, can, a, b) }},
		{"IPFields", !can.IPFields, ipFields},
		{"Concurrent", false, concurrent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.skip {
				t.Skip("the carrier does not have this ability")
			}
			a, b := pair(t)
			watchdog := time.AfterFunc(within, func() {
				panic(fmt.Sprintf("%s: the stream hangs", t.Name()))
			})
			defer watchdog.Stop()
			defer a.Reset()
			defer b.Reset()
			tc.run(t, a, b)
		})
	}
}

// halfClose ends one direction while the other one goes on.
func halfClose(t *testing.T, a, b stream.Stream) {
	write(t, a, "question")
	closeWrite(t, a)
	wantAll(t, b, "question")
	write(t, b, "answer")
	closeWrite(t, b)
	wantAll(t, a, "answer")
}

// bulk carries more than the window that a stream begins with, in both directions at
// once.
func bulk(t *testing.T, a, b stream.Stream) {
	const size = 1 << 20
	there, back := random(size), random(size)
	var running sync.WaitGroup
	defer running.Wait()
	for _, end := range []struct {
		s          stream.Stream
		send, want []byte
	}{{a, there, back}, {b, back, there}} {
		running.Go(func() {
			if n, err := end.s.Write(end.send); n != size || err != nil {
				t.Errorf("wrote %d of %d bytes: %v", n, size, err)
			}
			if err := end.s.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
		})
		running.Go(func() {
			got, err := io.ReadAll(end.s)
			if err != nil || !bytes.Equal(got, end.want) {
				t.Errorf("read %d of %d bytes, or others: %v", len(got), size, err)
			}
		})
	}
}

// reset ends both directions of the peer with an error. Bytes that were written before
// may come, but no io.EOF.
func reset(t *testing.T, a, b stream.Stream) {
	write(t, a, "hello")
	want(t, b, "hello")
	a.Reset()
	a.Reset() // does nothing
	if err := readError(b); errors.Is(err, io.EOF) {
		t.Errorf("read from a peer that has reset: %v", err)
	}
	if err := writeError(b); err == nil {
		t.Error("write to a peer that has reset succeeds")
	}
	if n, err := a.Read(make([]byte, 1)); err == nil {
		t.Errorf("read after this side's reset: %d bytes", n)
	}
	if err := writeError(a); err == nil {
		t.Error("write after this side's reset succeeds")
	}
}

// resetUnblocks resets while a Read and a Write of the same end wait.
func resetUnblocks(t *testing.T, a, b stream.Stream) {
	write(t, a, "first") // b need not be known to the far side before
	want(t, b, "first")
	ended := make(chan error, 2)
	go func() { ended <- readError(a) }()
	go func() { ended <- writeError(a) }() // until no window is left
	a.Reset()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a call that a reset ends returns no error")
		}
	}
}

func closeReadUnblocks(t *testing.T, a, b stream.Stream) {
	write(t, b, "first")
	want(t, a, "first")
	ended := make(chan error, 1)
	go func() { ended <- readError(a) }()
	if err := a.CloseRead(); err != nil {
		t.Errorf("CloseRead: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("a Read that CloseRead ends returns no error")
	}
	write(t, a, "more") // the other direction goes on
	want(t, b, "more")
}

func writeAfterCloseWrite(t *testing.T, a, b stream.Stream) {
	closeWrite(t, a)
	if n, err := a.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("Write after CloseWrite: %d, %v", n, err)
	}
	wantAll(t, b, "")
}

// wait returns when there are bytes, and consumes none.
func wait(t *testing.T, a, b stream.Stream) {
	waited := make(chan error, 1)
	go func() { waited <- b.Wait() }()
	write(t, a, "bytes")
	if err := <-waited; err != nil {
		t.Errorf("Wait: %v", err)
	}
	if err := b.Wait(); err != nil {
		t.Errorf("Wait again: %v", err)
	}
	want(t, b, "bytes")
}

// waitAtTheEnd leaves io.EOF to Read.
func waitAtTheEnd(t *testing.T, a, b stream.Stream) {
	closeWrite(t, a)
	if err := b.Wait(); err != nil {
		t.Errorf("Wait behind the last byte: %v", err)
	}
	wantAll(t, b, "")
	write(t, b, "x")
	want(t, a, "x")
	b.Reset()
	if err := a.Wait(); err == nil { // then it is left to Read
		if err := readError(a); errors.Is(err, io.EOF) {
			t.Errorf("Read after Wait of a stream that is reset: %v", err)
		}
	}
}

// flush adds no bytes, and may be called at any time.
func flush(t *testing.T, a, b stream.Stream) {
	for _, s := range []stream.Stream{a, b, a} {
		if err := s.Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
	}
	write(t, a, "x")
	if err := a.Flush(); err != nil {
		t.Errorf("Flush after Write: %v", err)
	}
	closeWrite(t, a)
	wantAll(t, b, "x")
}

func stopSendingByReset(t *testing.T, a, b stream.Stream) {
	called := make(chan struct{})
	stop := a.OnStopSending(func() { close(called) })
	write(t, a, "x")
	want(t, b, "x")
	b.Reset()
	readError(a) // where the carrier finds a reset by reading
	<-called
	if stop() {
		t.Error("stop says that it came in time")
	}
	late := make(chan struct{})
	a.OnStopSending(func() { close(late) })
	<-late
}

// stopSendingByCloseRead tells the writer, which writes nothing.
func stopSendingByCloseRead(t *testing.T, a, b stream.Stream) {
	called := make(chan struct{})
	a.OnStopSending(func() { close(called) })
	write(t, a, "x")
	want(t, b, "x")
	if err := b.CloseRead(); err != nil {
		t.Errorf("CloseRead: %v", err)
	}
	<-called
	if err := writeError(a); err == nil {
		t.Error("write to a peer that does not read succeeds")
	}
	write(t, b, "y") // the other direction goes on
	want(t, a, "y")
}

// stopSendingNotCalled ends streams by this side, and cancels the call. No event tells
// that a call does not come. One that comes late ends the whole run: a test that has
// ended must not fail.
func stopSendingNotCalled(t *testing.T, a, b stream.Stream) {
	a.OnStopSending(func() { t.Error("OnStopSending calls the end that closed") })
	b.OnStopSending(func() { t.Error("OnStopSending calls the end that reset") })
	stop := b.OnStopSending(func() { t.Error("OnStopSending calls after stop") })
	if !stop() {
		t.Error("stop says that it came too late")
	}
	closeWrite(t, a)
	wantAll(t, b, "")
	b.Reset()
	readError(a)
	a.Reset()
}

// urgent marks a byte, which stays in its place in the stream.
func urgent(t *testing.T, can Abilities, a, b stream.Stream) {
	write(t, a, "ab")
	want(t, b, "ab")
	if at := b.UrgentIn(2); at != -1 {
		t.Errorf("there is an urgent byte at %d", at)
	}
	if err := a.MarkUrgent(); err != nil && can.Urgent {
		t.Errorf("MarkUrgent: %v", err)
	}
	write(t, a, "!")
	write(t, a, "c")
	closeWrite(t, a)
	var got []byte
	mark := -1
	for buf := make([]byte, 16); ; {
		n, err := b.Read(buf)
		if at := b.UrgentIn(n); at >= 0 {
			mark = len(got) + at
		}
		got = append(got, buf[:n]...)
		if err != nil {
			break
		}
	}
	if string(got) != "!c" || can.Urgent && mark != 0 || !can.Urgent && mark != -1 {
		t.Errorf("read %q, the urgent byte at %d", got, mark)
	}
}

// concurrent calls methods of one stream at once. The race detector looks on.
func concurrent(t *testing.T, a, b stream.Stream) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, s := range []stream.Stream{a, b} {
		stop := s.OnStopSending(func() {})
		running.Go(func() {
			for s.Wait() == nil {
				if _, err := s.Read(make([]byte, 100)); err != nil {
					return
				}
			}
		})
		running.Go(func() {
			defer s.CloseWrite()
			for i := range 200 {
				if _, err := fmt.Fprintln(s, i); err != nil {
					return
				}
			}
		})
		running.Go(func() { s.Flush() })
		running.Go(func() { stop() })
	}
	running.Go(func() {
		a.Flush()
		b.Reset()
	})
}

// write writes all of text.
func write(t *testing.T, s stream.Stream, text string) {
	t.Helper()
	if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("write %q: %d, %v", text, n, err)
	}
}

func closeWrite(t *testing.T, s stream.Stream) {
	t.Helper()
	if err := s.CloseWrite(); err != nil {
		t.Fatalf("CloseWrite: %v", err)
	}
}

// want reads as much as text has.
func want(t *testing.T, s stream.Stream, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(s, got); string(got) != text {
		t.Fatalf("read %q, %v; want %q", got[:n], err, text)
	}
}

// wantAll reads to the end.
func wantAll(t *testing.T, s stream.Stream, text string) {
	t.Helper()
	if got, err := io.ReadAll(s); string(got) != text || err != nil {
		t.Fatalf("read %q, %v; want %q and the end", got, err, text)
	}
}

// readError reads until there is an error.
func readError(s stream.Stream) error {
	for b := make([]byte, 4096); ; {
		if _, err := s.Read(b); err != nil {
			return err
		}
	}
}

// writeError writes until there is an error, at most some 64 MiB: a carrier may take
// bytes that the peer never gets.
func writeError(s stream.Stream) error {
	b := make([]byte, 64<<10)
	for range 1 << 10 {
		if _, err := s.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func random(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// ipFields tells the peer of several IPFields: it learns the last ones at least.
func ipFields(t *testing.T, a, b stream.Stream) {
	write(t, a, "hello") // the peer knows the stream
	want(t, b, "hello")
	for _, end := range []struct{ from, to stream.Stream }{{a, b}, {b, a}} {
		got := make(chan stream.IPFields, 8)
		if f := end.to.OnIPFields(func(f stream.IPFields) { got <- f }); f !=
			(stream.IPFields{}) {
			t.Errorf("fields that nobody has set: %v", f)
		}
		last := stream.IPFields{TTL: 255, TOS: 0xb8}
		for _, f := range []stream.IPFields{{TTL: 1}, {TTL: 2, TOS: 2}, last} {
			end.from.SetIPFields(f)
		}
		for f := range got {
			if f == last {
				break
			}
		}
	}
}
