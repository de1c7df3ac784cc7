package direct

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	chacha "math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A Path is a way to a peer that carries TCP.
type Path struct {
	To  netip.AddrPort // the peer's Port, as this side reaches it
	MSS int            // bytes of a segment at most (TCP_MAXSEG); 0: the kernel's choice
}

// SafeMSS is the MSS where the kernel's choice does not get through, in bytes. Hosts with
// jumbo frames offer segments of 8,961 bytes, and a router on the way that tells nobody
// that it drops them makes a connection stall after its first small segments. 1,360 bytes
// leave room for a tunnel on a link of 1,500.
const SafeMSS = 1360

// Timeouts of a trial, besides four round trips each.
const (
	establishWithin = 1500 * time.Millisecond // the kernel repeats a lost SYN after 1 s
	carryWithin     = 1500 * time.Millisecond
)

// probeSize is how much a trial sends each way, in bytes. Connections that a path cannot
// carry have been seen to stall after 16 to 64 KiB.
const probeSize = 64 << 10

// ErrTrial is the error of a trial that has shown that the path does not carry TCP.
var ErrTrial = errors.New("the path carries no TCP")

// The control stream of a trial carries, all numbers big endian:
//
//	from the acceptor   its port                                       2 bytes
//	from the dialler    1, its port, MSS, seed of the probe            1 + 2 + 2 + 32 bytes
//	from the acceptor   1: the probe was right; 0: there was none      1 byte
//
// The last two may come again, with another MSS.
const (
	sizeofAttempt = 1 + 2 + 2 + sizeofSeed
	sizeofSeed    = 32
)

// Dial tries whether the address to carries TCP to the peer at the other end of a control
// stream, which runs Accept. lan says that both are on one network, where large segments
// may be possible. rtt is the time of a round trip.
func Dial(ctx context.Context, control io.ReadWriter, to netip.Addr, lan bool,
	rtt time.Duration) (Path, error) {
	var port [2]byte
	if _, err := io.ReadFull(control, port[:]); err != nil {
		return Path{}, fmt.Errorf("trial: %w", err)
	}
	path := Path{To: netip.AddrPortFrom(to, binary.BigEndian.Uint16(port[:]))}
	sizes := []int{SafeMSS}
	if lan {
		sizes = []int{0, SafeMSS}
	}
	var errs error
	for _, path.MSS = range sizes {
		err := dialOnce(ctx, control, path, rtt)
		if err == nil {
			return path, nil
		}
		errs = errors.Join(errs, err)
		if !errors.Is(err, ErrTrial) {
			break // the control stream has failed
		}
	}
	return Path{}, errs
}

func dialOnce(ctx context.Context, control io.ReadWriter, path Path,
	rtt time.Duration) error {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|
		unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	// From now on a SYN is on its way.
	err = connect(fd, &unix.SockaddrInet4{Port: int(path.To.Port()),
		Addr: path.To.Addr().As4()}, path.MSS)
	var local unix.Sockaddr
	if err == nil {
		local, err = unix.Getsockname(fd)
	}
	if err != nil {
		linux.Close(fd)
		return fmt.Errorf("trial: connect to %v: %w: %w", path.To, err, ErrTrial)
	}
	s := os.NewFile(uintptr(fd), "trial")
	defer s.Close()
	b := make([]byte, sizeofAttempt)
	b[0] = 1
	binary.BigEndian.PutUint16(b[1:], uint16(local.(*unix.SockaddrInet4).Port))
	binary.BigEndian.PutUint16(b[3:], uint16(path.MSS))
	seed := b[5:]
	rand.Read(seed)
	if _, err := control.Write(b); err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	failed := carry(ctx, s, seed, 0, rtt)
	var answer [1]byte
	if _, err := io.ReadFull(control, answer[:]); err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	if failed == nil && answer[0] != 1 {
		failed = errors.New("nothing has arrived")
	}
	if failed != nil {
		return fmt.Errorf("trial: %v: %w: %w", path.To, failed, ErrTrial)
	}
	return nil
}

// Accept is the other end of Dial. from is the dialler's address, which this side knows
// by its own means. It returns when the dialler has ended the stream.
func Accept(ctx context.Context, control io.ReadWriter, p *Port, from netip.Addr,
	rtt time.Duration) error {
	port := binary.BigEndian.AppendUint16(nil, p.Number())
	if _, err := control.Write(port); err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	for {
		var b [sizeofAttempt]byte
		if _, err := io.ReadFull(control, b[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("trial: %w", err)
		}
		to := netip.AddrPortFrom(from, binary.BigEndian.Uint16(b[1:]))
		err := acceptOnce(ctx, p, to, int(binary.BigEndian.Uint16(b[3:])), b[5:], rtt)
		answer := []byte{1}
		if err != nil {
			answer[0] = 0
		}
		if _, err := control.Write(answer); err != nil {
			return fmt.Errorf("trial: %w", err)
		}
	}
}

func acceptOnce(ctx context.Context, p *Port, to netip.AddrPort, mss int, seed []byte,
	rtt time.Duration) error {
	fd, err := p.Connect(unix.AF_INET, to, mss)
	if err != nil {
		return err
	}
	s := os.NewFile(uintptr(fd), "trial")
	defer s.Close()
	return carry(ctx, s, seed, 1, rtt)
}

// carry waits until a trial's socket is established, sends its side's bytes and checks
// the other side's.
func carry(ctx context.Context, s *os.File, seed []byte, side byte,
	rtt time.Duration) error {
	defer context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })()
	s.SetDeadline(time.Now().Add(establishWithin + 4*rtt))
	if err := established(s); err != nil {
		return err
	}
	s.SetDeadline(time.Now().Add(carryWithin + 4*rtt))
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(probe(seed, side))
		sent <- err
	}()
	got := make([]byte, probeSize)
	_, err := io.ReadFull(s, got)
	if e := <-sent; err == nil {
		err = e
	}
	if err == nil && !bytes.Equal(got, probe(seed, 1-side)) {
		err = errors.New("another one has answered")
	}
	return err
}

// established waits for the end of a connect.
func established(s *os.File) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var outcome error
	err = raw.Write(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(p, 0)
		if n == 0 || errors.Is(err, unix.EINTR) {
			return false
		}
		var errno int
		if errno, outcome = linux.GetsockoptInt(int(fd), unix.SOL_SOCKET,
			unix.SO_ERROR); errno != 0 {
			outcome = unix.Errno(errno)
		}
		return true
	})
	if err != nil {
		return err
	}
	return outcome
}

// probe returns what a side sends. Its bytes are no secret; they show that the peer is
// the one that knows the seed.
func probe(seed []byte, side byte) []byte {
	var key [sizeofSeed]byte
	copy(key[:], seed)
	key[0] ^= side
	b := make([]byte, probeSize)
	chacha.NewChaCha8(key).Read(b)
	return b
}
