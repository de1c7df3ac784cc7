package syscalls

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// failAttempt makes an attempt that fails.
func failAttempt(a *pendingConnects, cookie uint64) {
	p := &pendingConnect{id: cookie}
	a.start(context.Background(), p)
	a.fail(p, unix.ECONNREFUSED, func() error { return nil })
}

// Errors that no program asks for are forgotten after a while, when there are many.
func TestForgottenErrors(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var a pendingConnects
		const many = 3 * maxErrors
		for c := range uint64(many) {
			failAttempt(&a, c)
		}
		if errno, ok := a.takeError(0); !ok || errno != unix.ECONNREFUSED {
			t.Errorf("the first error: %v, %v", errno, ok)
		}
		runs := &pendingConnect{id: many}
		a.start(context.Background(), runs)
		failAttempt(&a, 7) // the same socket once more
		time.Sleep(errorKept + time.Second)
		failAttempt(&a, many+1)
		if n := len(a.m); n > maxErrors+2 {
			t.Errorf("%d entries are kept, want at most %d", n, maxErrors+2)
		}
		if a.find(many) != runs {
			t.Error("an attempt that runs was forgotten")
		}
		if errno, ok := a.takeError(7); !ok || errno != unix.ECONNREFUSED {
			t.Errorf("a late error: %v, %v", errno, ok)
		}
		if _, ok := a.takeError(1); ok {
			t.Error("an old error is kept")
		}
		for c := range uint64(many + 2) {
			a.takeError(c)
		}
		a.start(context.Background(), &pendingConnect{id: many + 2})
		if len(a.failed) > 0 {
			t.Errorf("%d errors are remembered that programs have fetched", len(a.failed))
		}
	})
}

// A connect costs the same, however many errors nobody has asked for.
func BenchmarkAttempts(b *testing.B) {
	for name, before := range map[string]uint64{"errors=0": 0, "errors=50000": 50_000} {
		b.Run(name, func(b *testing.B) {
			var a pendingConnects
			for c := range before {
				failAttempt(&a, c)
			}
			cookie := before
			for b.Loop() {
				p := &pendingConnect{id: cookie}
				a.start(context.Background(), p)
				a.succeed(p)
				cookie++
			}
		})
	}
}
