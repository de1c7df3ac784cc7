package syscalls

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// signalAll sends the runtime's signal to all threads of the process every millisecond,
// until the test ends.
func signalAll(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		every := time.NewTicker(time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-stop:
				return
			}
			threads, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range threads {
				if tid, err := strconv.Atoi(e.Name()); err == nil {
					unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // unless it has ended
				}
			}
		}
	}()
}

// Signals come to the supervisor's threads at any time: its runtime sends them. A call's
// timeout is not longer for that, and Linux is asked where none come.
func TestTimeoutsUnderSignals(t *testing.T) {
	signalAll(t)
	compare(t, nil, func(s *script) {
		k := s.tcp(s.a)
		k.setTimeout(unix.SO_SNDTIMEO, 50)
		k.connect("203.0.113.200:7000")
		l := s.listener(s.a, "0.0.0.0:7000")
		l.setTimeout(unix.SO_RCVTIMEO, 50)
		l.accept(0)
	})
}
