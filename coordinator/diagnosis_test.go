package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// What keeps a node from its coordinator is told at once, and in the error at the end.
func TestDiagnosisIsLogged(t *testing.T) {
	noLeaks(t)
	closed := listenUDP(t)
	addr := closed.LocalAddr().String()
	closed.Close()
	for _, tc := range []struct{ name, host, want string }{
		{"refused", addr, "nobody listens on UDP port"},
		{"no such host", "coordinator.invalid:4242", "coordinator.invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := newLab(t, ServerConfig{Logger: quiet}).url(t)
			u.Host = tc.host
			var log syncBuffer
			ctx, cancel := context.WithCancel(t.Context())
			var joining sync.WaitGroup
			defer joining.Wait()
			defer cancel()
			ended := make(chan error, 1)
			joining.Go(func() {
				_, err := enterContext(ctx, t, u, ClientConfig{Timeout: patience,
					Logger: slog.New(slog.NewTextHandler(&log, nil))})
				ended <- err
			})
			eventually(t, "the cause is told",
				func() bool { return strings.Contains(log.String(), tc.want) })
			select {
			case err := <-ended:
				if tc.name == "refused" { // it may be started any moment
					t.Errorf("gave up: %v", err)
				} else if !errors.Is(err, ErrUnreachable) ||
					!strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v", err)
				}
			default:
			}
		})
	}
}

// A coordinator that comes up late is found, and what was said before is forgotten.
func TestDiagnosisEnds(t *testing.T) {
	noLeaks(t)
	path := restartable(t)
	l := newLab(t, ServerConfig{State: load(t, path)})
	u := l.url(t)
	l.stop()
	var log syncBuffer
	joined := make(chan error, 1)
	go func() {
		_, err := enter(t, u, ClientConfig{Timeout: patience,
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		joined <- err
	}()
	eventually(t, "the cause is told", func() bool { return strings.Contains(log.String(), "nobody listens") })
	newLab(t, ServerConfig{State: load(t, path)})
	if err := <-joined; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "nobody listens"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

func TestDiagnosis(t *testing.T) {
	addr := netip.MustParseAddrPort("203.0.113.1:4433")
	for _, tc := range []struct {
		errno unix.Errno
		text  string // empty: tells no cause
		local bool
	}{
		{unix.ECONNREFUSED, "nobody listens on UDP port 4433 of 203.0.113.1", false},
		{unix.ENETUNREACH, "no route to 203.0.113.1", true},
		{unix.ENETDOWN, "no route to 203.0.113.1", true},
		{unix.EHOSTUNREACH, "203.0.113.1 is not there", false},
		{unix.EPERM, "firewall", true},
		{unix.EINVAL, "blackhole", true},
		{unix.ENOBUFS, "", false},
	} {
		virtualtime.Test(t, func(t *testing.T) {
			var log syncBuffer
			tr := newDiagnosis(slog.New(slog.NewTextHandler(&log, nil)))
			for range 3 {
				tr.setErrno(addr, fmt.Errorf("send: %w", &net.OpError{Op: "write", Err: tc.errno}))
			}
			cause, hopeless := tr.current()
			if tc.text == "" {
				if cause != nil {
					t.Errorf("%v: %v", tc.errno, cause)
				}
				return
			}
			if !errors.Is(cause, tc.errno) || !strings.Contains(cause.Error(), tc.text) ||
				hopeless {
				t.Errorf("%v: %v, hopeless %v", tc.errno, cause, hopeless)
			}
			if n := strings.Count(log.String(), "does not answer yet"); n != 1 {
				t.Errorf("%v: told %d times", tc.errno, n)
			}
			time.Sleep(giveUpAfter)
			tr.setErrno(addr, tc.errno)
			if _, hopeless := tr.current(); hopeless != tc.local {
				t.Errorf("%v: hopeless %v after %v", tc.errno, hopeless, giveUpAfter)
			}
			tr.clear()
			if cause, hopeless := tr.current(); cause != nil || hopeless {
				t.Errorf("%v: %v is left", tc.errno, cause)
			}
		})
	}
}

// Each look-up that fails is of another socket, and is told of once all the same.
func TestDiagnosisOfNames(t *testing.T) {
	var log syncBuffer
	tr := newDiagnosis(slog.New(slog.NewTextHandler(&log, nil)))
	for port := range 3 {
		tr.setLookup("coordinator.example.com", &net.DNSError{
			Err:    fmt.Sprintf("read udp 192.0.2.7:%d->192.0.2.53:53: read: connection refused", 40000+port),
			Name:   "coordinator.example.com",
			Server: "192.0.2.53:53",
		})
	}
	if n := strings.Count(log.String(), "does not answer yet"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if cause, _ := tr.current(); !strings.Contains(cause.Error(),
		"192.0.2.53:53: read: connection refused") {
		t.Errorf("the cause is %v", cause)
	}
}

func TestProbe(t *testing.T) {
	l := newLab(t, ServerConfig{})
	// One probe waits for a second, which a busy machine may take to answer.
	eventually(t, "a coordinator answers", func() bool {
		answered, err := probeSTUN(t.Context(), l.cfg.Socket.LocalAddr())
		if err != nil {
			t.Fatalf("a coordinator: %v", err)
		}
		return answered
	})
	mute := listenUDP(t)
	if answered, err := probeSTUN(t.Context(),
		mute.LocalAddr().(*net.UDPAddr).AddrPort()); answered || err != nil {
		t.Errorf("one that is silent: %v, %v", answered, err)
	}
	mute.Close()
	if answered, err := probeSTUN(t.Context(),
		mute.LocalAddr().(*net.UDPAddr).AddrPort()); answered ||
		!errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port: %v, %v", answered, err)
	}
}
