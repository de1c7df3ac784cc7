package syscalls

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An attempt is one connect(2) to another node, from SYN_SENT to its end. It
// goes on when the program stops waiting, as Linux's does.
type attempt struct {
	done  chan struct{} // closed when it has ended
	errno unix.Errno    // why it failed; 0 if it did not; read after done
	ended time.Time     // likewise
}

// attempts are the connects that run, and those that failed and whose error
// the program has not fetched yet, by socket cookie.
type attempts struct {
	mu sync.Mutex
	m  map[uint64]*attempt
}

// A program may close a socket without fetching its error. Such entries are
// dropped after errorKept, once there are maxErrors.
const (
	errorKept = time.Minute
	maxErrors = 1024
)

func (a *attempts) start(cookie uint64) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = make(map[uint64]*attempt)
	}
	if len(a.m) >= maxErrors {
		for c, at := range a.m {
			if at.hasEnded() && time.Since(at.ended) > errorKept {
				delete(a.m, c)
			}
		}
	}
	at := &attempt{done: make(chan struct{})}
	a.m[cookie] = at
	return at
}

// find returns the attempt of a socket, or nil.
func (a *attempts) find(cookie uint64) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m[cookie]
}

func (a *attempts) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.m) == 0
}

// succeed ends an attempt whose socket is established.
func (a *attempts) succeed(cookie uint64, at *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m[cookie] == at {
		delete(a.m, cookie)
	}
	at.ended = time.Now()
	close(at.done)
}

// fail ends an attempt on the socket fd. The error stays for takeError. To the
// program it is one event: whoever its wake-up makes ask for the error waits
// here, and who waits for the attempt finds the socket as it will be.
func (a *attempts) fail(at *attempt, errno unix.Errno, fd int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at.errno = errno
	at.ended = time.Now()
	// Wakes whoever polls the socket, and makes it as if never connected.
	unix.Shutdown(fd, unix.SHUT_RDWR)
	close(at.done)
}

// takeError returns the error of a failed attempt, once, as SO_ERROR does.
func (a *attempts) takeError(cookie uint64) (unix.Errno, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.m[cookie]
	if !ok || !at.hasEnded() {
		return 0, false
	}
	delete(a.m, cookie)
	return at.errno, true
}

func (a *attempt) hasEnded() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}
