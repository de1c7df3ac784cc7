package transport

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// Both ends of a stream tell of urgent bytes, be it optimistic or not, and the places
// are known when the bytes are read.
func TestUrgent(t *testing.T) { virtual(t, testUrgent) }

func testUrgent(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	got := make(chan string, 1)
	b.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		text := readMarked(t, s)
		writeMarked(t, s, text)
		s.CloseWrite()
		got <- text
	})
	const text = "!abc!def!!" // what is urgent is "!"
	check := func(s *Stream) {
		t.Helper()
		writeMarked(t, s, text)
		s.CloseWrite()
		if back := readMarked(t, s); back != text {
			t.Errorf("came back: %q", back)
		}
		if there := <-got; there != text {
			t.Errorf("arrived: %q", there)
		}
	}
	check(a.open(t, 2))
	b.Announce(header().Destination, 10)
	var optimistic *Stream
	eventually(t, "the announcement is there", func() (ok bool) {
		optimistic, ok = a.OpenOptimistic(2, header())
		return ok
	})
	check(optimistic)
	eventually(t, "all streams are over",
		func() bool { return a.streams(2) == 0 && b.streams(1) == 0 })
}

// writeMarked writes text, in which "!" is urgent.
func writeMarked(t *testing.T, s *Stream, text string) {
	for piece := range strings.SplitAfterSeq(text, "!") {
		plain, urgent := strings.CutSuffix(piece, "!")
		io.WriteString(s, plain)
		if urgent {
			if err := s.MarkUrgent(); err != nil {
				t.Errorf("mark: %v", err)
			}
			io.WriteString(s, "!")
		}
	}
}

// readMarked reads to the end, and holds the urgent bytes to be those that are "!".
func readMarked(t *testing.T, s *Stream) (text string) {
	b := make([]byte, 100)
	for {
		n, err := s.Read(b)
		rest := b[:n]
		for len(rest) > 0 {
			at := s.UrgentIn(len(rest))
			if want := slices.Index(rest, '!'); at != want {
				t.Errorf("in %q: urgent is %d, want %d", rest, at, want)
			}
			if at < 0 {
				break
			}
			rest = rest[at+1:]
		}
		text += string(b[:n])
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return text
		}
	}
}

// A mark of a stream that is not there is refused, and harms nothing.
func TestUrgentOfNoStream(t *testing.T) { virtual(t, testUrgentOfNoStream) }

func testUrgentOfNoStream(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	b.onAccept(echo)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	h := header()
	h.Urgent = UrgentByte{Stream: 1 << 63, Valid: true}
	if _, err := s.conn.open(t.Context(), h); !refused(err) {
		t.Errorf("mark of no stream: %v, want a refusal", err)
	}
	exchange(t, s, "still there")
	s.Reset()
}

func TestMarks(t *testing.T) {
	var m marks
	for _, at := range []uint64{3, 3, 2, 10, 11} { // twice, and backwards
		m.add(at)
	}
	take := func(start, end, want uint64, wantOK bool) {
		t.Helper()
		if at, ok := m.take(start, end); ok != wantOK || ok && at != want {
			t.Errorf("from %d to %d: %d, %v; want %d, %v", start, end, at, ok, want, wantOK)
		}
	}
	take(0, 3, 0, false)
	take(0, 12, 3, true)
	take(11, 12, 11, true) // 10 was read by somebody who did not ask
	take(0, 100, 0, false)
	if m.some.Load() {
		t.Error("some are left")
	}
	for at := range uint64(3 * maxMarks) {
		m.add(at)
	}
	if len(m.at) != maxMarks {
		t.Errorf("%d are remembered, want %d", len(m.at), maxMarks)
	}
	take(0, 3*maxMarks, 2*maxMarks, true)
}

func refused(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Status == StatusRefused
}
