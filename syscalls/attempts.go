package syscalls

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An attempt is one connect(2) to another node, from SYN_SENT to its end. It
// goes on when the program stops waiting, as Linux's does.
type attempt struct {
	cancel context.CancelFunc // ends what asks the network
	done   chan struct{}      // closed when it has ended
	errno  unix.Errno         // why it failed; 0 if it did not; read after done
	ended  time.Time          // likewise
	gaveUp bool               // the program has; by attempts.mu
	ends   Ends               // for traces
}

// attempts are the connects that run, and those that failed and whose error
// the program has not fetched yet, by socket cookie.
type attempts struct {
	mu     sync.Mutex
	m      map[uint64]*attempt
	failed []failure // in the order of their ends
}

// A failure is an attempt that has failed.
type failure struct {
	cookie  uint64
	attempt *attempt
}

// A program may close a socket without fetching its error. Such entries are
// dropped after errorKept, once there are maxErrors.
const (
	errorKept = time.Minute
	maxErrors = 1024
)

// forgetLocked drops the entries that nobody has asked for, the oldest first. Each
// failure is dropped once, and looked at no further, so it costs the same however many
// there are.
func (a *attempts) forgetLocked(now time.Time) {
	for len(a.failed) > 0 {
		f := a.failed[0]
		if a.m[f.cookie] == f.attempt {
			if len(a.failed) <= maxErrors || now.Sub(f.attempt.ended) <= errorKept {
				return
			}
			delete(a.m, f.cookie)
		}
		a.failed[0] = failure{}
		a.failed = a.failed[1:]
	}
}

// start begins an attempt. The context ends when the program gives it up.
func (a *attempts) start(ctx context.Context, cookie uint64) (context.Context, *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = make(map[uint64]*attempt)
	}
	a.forgetLocked(time.Now())
	ctx, cancel := context.WithCancel(ctx)
	at := &attempt{cancel: cancel, done: make(chan struct{})}
	a.m[cookie] = at
	return ctx, at
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

// giveUp ends an attempt whose socket the program has closed, or connects
// elsewhere: whatever comes of it is not for that socket.
func (a *attempts) giveUp(at *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at.gaveUp = true
	at.cancel()
}

// fail ends an attempt, and its socket's connecting by refuse, whose error it
// returns. The attempt's error stays for takeError. To the program all is one
// event: whoever its wake-up makes ask for the error waits here, and who waits for the
// attempt finds the socket as it will be.
func (a *attempts) fail(cookie uint64, at *attempt, errno unix.Errno,
	refuse func() error) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.gaveUp {
		if a.m[cookie] == at {
			delete(a.m, cookie)
		}
	} else {
		at.errno = errno
		err = refuse()
	}
	at.ended = time.Now()
	close(at.done)
	if a.m[cookie] == at {
		a.failed = append(a.failed, failure{cookie, at})
	}
	return err
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
