package resolver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// dialOwn returns a Stream to a listener of the test's own, and the listener's end.
func dialOwn(t testing.TB, s *Server) (*Stream, *net.TCPConn) {
	t.Helper()
	return dialFor(t, s, Client{}, false)
}

func dialFor(t testing.TB, s *Server, by Client, observed bool) (*Stream, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	by.Server = netip.MustParseAddrPort(l.Addr().String())
	st, err := s.DialFor(context.Background(), by, observed)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// A Stream has no deadline: a test that waits in vain fails instead.
	limit := time.AfterFunc(20*time.Second, st.Reset)
	t.Cleanup(func() {
		limit.Stop()
		st.Reset()
		c.Close()
	})
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return st, c.(*net.TCPConn)
}

// message returns a question with its length before it.
func message(t testing.TB, name string, qtype uint16) []byte {
	t.Helper()
	b, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if err := writeMessage(&w, b); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func write(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// expectAnswer reads a message of the network's.
func expectAnswer(t testing.TB, r io.Reader, want string) {
	t.Helper()
	b, err := readMessage(r)
	var m dns.Msg
	if err == nil {
		err = m.Unpack(b)
	}
	if err != nil || data(&m) != want {
		t.Fatalf("got %v, %v; want %s", &m, err, want)
	}
}

// TestStream mixes questions about the network with others on one connection. The server
// is in the middle of a message when one of ours is ready.
func TestStream(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	other := message(t, "example.org.", dns.TypeAXFR)
	write(t, st, other)
	expect(t, c, other)
	write(t, st, message(t, "db.", dns.TypeA))
	expectAnswer(t, st, "10.111.0.2")

	first, second := message(t, "first.example.", dns.TypeA),
		message(t, "second.example.", dns.TypeA)
	write(t, c, first[:9])
	expect(t, st, first[:9])
	write(t, st, message(t, "web.", dns.TypeA))
	write(t, c, slices.Concat(first[9:], second[:5]))
	expect(t, st, first[9:])
	expectAnswer(t, st, "10.111.0.3 10.111.0.4 10.111.0.5")
	write(t, c, second[5:])
	expect(t, st, second)

	large := append([]byte{0xff, 0xff}, bytes.Repeat([]byte("x"), 0xffff)...)
	go st.Write(large) // the far end reads at once
	expect(t, c, large)
	write(t, st, message(t, "db.", dns.TypeA))
	expectAnswer(t, st, "10.111.0.2")

	st.CloseWrite()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after CloseWrite: %v", err)
	}
	write(t, c, second)
	c.Close()
	expect(t, st, second)
	if _, err := st.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the server's end: %v", err)
	}
}

// TestStreamBytewise sends each byte alone.
func TestStreamBytewise(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	other := message(t, "example.org.", dns.TypeA)
	for _, b := range slices.Concat(message(t, "db.", dns.TypeA), other) {
		write(t, st, []byte{b})
	}
	expect(t, c, other)
	expectAnswer(t, st, "10.111.0.2")
}

// TestStreamLateTimer has the timer of a message fire when the message has been sent and
// the next one has begun. The next one is neither sent early nor taken for another
// protocol.
func TestStreamLateTimer(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	first, own := message(t, "example.org.", dns.TypeA), message(t, "db.", dns.TypeA)
	write(t, st, first[:5])
	st.writing.Lock()
	late := st.holds
	st.writing.Unlock()
	write(t, st, slices.Concat(first[5:], own[:5]))
	st.expire(late)
	write(t, st, own[5:])
	expectAnswer(t, st, "10.111.0.2")
	write(t, st, first)
	expect(t, c, first)
	expect(t, c, first) // and nothing of the question that was answered here
}

// TestStreamBoundsAnswers has more local answers than may wait, while the server is in
// the middle of a message. The message's end, and the end of reading, let them go on.
func TestStreamBoundsAnswers(t *testing.T) {
	for name, end := range map[string]func(*Stream){
		"message ends": func(st *Stream) { st.pass([]byte("bc")) },
		"CloseRead":    func(st *Stream) { st.closed() },
		"Reset":        func(st *Stream) { st.cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) { boundAnswers(t, end, name == "message ends") })
		})
	}
}

func boundAnswers(t *testing.T, end func(*Stream), delivered bool) {
	st := &Stream{out: make(chan []byte, streamQueue), drained: make(chan struct{})}
	st.ctx, st.cancel = context.WithCancel(t.Context())
	st.unread, st.closed = context.WithCancel(st.ctx)
	st.pass([]byte{0, 3, 'a'})
	const answers = 3 * maxWaitingAnswers
	var given atomic.Int32
	var all sync.WaitGroup
	all.Go(func() {
		for range answers {
			st.answer([]byte("answer"))
			given.Add(1)
		}
	})
	synctest.Wait()
	if n := given.Load(); n != maxWaitingAnswers {
		t.Errorf("%d answers wait, want %d", n, maxWaitingAnswers)
	}
	read := 0
	reading, stop := context.WithCancel(t.Context())
	all.Go(func() {
		for {
			select {
			case b := <-st.out:
				read += len(b)
			case <-reading.Done():
				return
			}
		}
	})
	end(st)
	synctest.Wait()
	stop()
	all.Wait()
	if want := 5 + answers*(lengthSize+len("answer")); delivered && read != want {
		t.Errorf("read %d bytes, want %d", read, want)
	}
	if n := given.Load(); n != answers {
		t.Errorf("%d of %d answers were given in the end", n, answers)
	}
}

// TestStreamForeign carries what is no DNS: nothing is held back for long.
func TestStreamForeign(t *testing.T) {
	for _, text := range []string{"SSH-2.0-client\r\n", "\x00\x02hi", "\x00\x00", "x",
		"\x00\x20" + strings.Repeat("\x80", 32), "\x00\x20short"} {
		s, _ := startServer(t, "")
		st, c := dialOwn(t, s)
		write(t, st, []byte(text))
		expect(t, c, []byte(text))
		write(t, c, []byte("SSH-2.0-server\r\n"))
		expect(t, st, []byte("SSH-2.0-server\r\n"))
	}
}

// TestStreamEnds has each side end the connection in each way.
func TestStreamEnds(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	c.SetLinger(0)
	c.Close()
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server has reset: %v", err)
	}
	st, c = dialOwn(t, s)
	st.Reset()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program has reset: %v", err)
	}
	st, c = dialOwn(t, s)
	query := message(t, "example.org.", dns.TypeA)
	write(t, st, query)
	st.CloseWrite()
	st.CloseRead()
	expect(t, c, query) // what was sent before the end arrives
	write(t, c, query)
	if err := waitReset(c); !errors.Is(err, syscall.ECONNRESET) &&
		!errors.Is(err, syscall.EPIPE) {
		t.Errorf("nobody reads any more: %v", err)
	}
}

// TestStreamWait waits for what the server sends, and for the end, and reads after that.
func TestStreamWait(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	waited := make(chan error, 1)
	go func() { waited <- st.Wait() }()
	write(t, c, []byte("bytes"))
	if err := <-waited; err != nil {
		t.Errorf("Wait: %v", err)
	}
	expect(t, st, []byte("bytes"))
	c.CloseWrite()
	if err := st.Wait(); err != nil {
		t.Errorf("Wait at the end: %v", err)
	}
	if n, err := st.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v; want the end", n, err)
	}
}

// TestStreamOnStopSending holds that the writer is told of the server's reset, and not of
// an end in order.
func TestStreamOnStopSending(t *testing.T) {
	s, _ := startServer(t, "")
	st, c := dialOwn(t, s)
	called := make(chan struct{})
	st.OnStopSending(func() { close(called) })
	c.SetLinger(0)
	c.Close()
	<-called

	st, c = dialOwn(t, s)
	called = make(chan struct{})
	stop := st.OnStopSending(func() { close(called) })
	c.Close()
	if _, err := io.ReadAll(st); err != nil {
		t.Error(err)
	}
	stop()
	select {
	case <-called:
		t.Error("an end in order was told as a reset")
	default:
	}
}

// TestReadAfterCloseRead holds that who still reads when CloseRead comes gets an error in
// the end, and not nothing again and again.
func TestReadAfterCloseRead(t *testing.T) {
	st, c := dialOwn(t, New(Config{Names: testNames()}))
	st.CloseRead()
	write(t, c, message(t, "example.org.", dns.TypeA))
	for {
		n, err := st.Read(make([]byte, 1<<10))
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			return
		}
		if n == 0 {
			t.Fatal("a Read that returns neither data nor an error")
		}
	}
}

// waitReset reads and writes until the connection fails.
func waitReset(c *net.TCPConn) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	for {
		if _, err := c.Write([]byte{0}); err != nil {
			return err
		}
	}
}

// TestDialRefused has the kernel's errno.
func TestDialRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s, _ := startServer(t, "")
	if _, err := s.Dial(context.Background(),
		netip.MustParseAddrPort(l.Addr().String())); !errors.Is(err,
		syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	s.Close()
	live, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if _, err := s.Dial(context.Background(),
		netip.MustParseAddrPort(live.Addr().String())); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a server that is closed: %v", err)
	}
}

// FuzzFrames cuts a stream of messages in two: their ends are where they are.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x03abc\x00\x00\x00\x01x"), 4)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 || cut > len(b) {
			return
		}
		want, rest := 0, b
		for len(rest) >= 2 {
			size := 2 + int(rest[0])<<8 + int(rest[1])
			if size > len(rest) {
				break
			}
			want, rest = want+size, rest[size:]
		}
		var fr frames
		end := fr.next(b[:cut])
		if second := fr.next(b[cut:]); second >= 0 {
			end = cut + second
		}
		if max(end, 0) != want || fr.between() != (want == len(b)) {
			t.Fatalf("the last message ends at %d, want %d (between: %v)", end, want,
				fr.between())
		}
	})
}
