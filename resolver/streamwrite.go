package resolver

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxOwnQuery is the size of the largest question that can be about the network's
	// names, in bytes. Larger messages pass as they come.
	maxOwnQuery = 1 << 10
	// holdFor is how long Write holds back the beginning of a message while it waits
	// for the rest.
	holdFor = 100 * time.Millisecond
	// lengthSize is the size of the length before each message (RFC 1035 section
	// 4.2.2), in bytes.
	lengthSize = 2
)

// fromProgram is the state of a Stream's writing side.
type fromProgram struct {
	held    []byte // the beginning of a message
	rest    int    // bytes to come of a message that passes
	foreign bool   // the program does not speak DNS
	sent    bool   // the program sends no more
	timer   *time.Timer
	holds   uint64 // number of the last hold: a timer that is late finds another one
}

// Write sends what the program says. It holds back the beginning of a message that may
// need a local answer, for at most holdFor.
func (st *Stream) Write(b []byte) (int, error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	for size := len(b); ; {
		if st.foreign || st.rest > 0 {
			n := len(b)
			if !st.foreign {
				n = min(n, st.rest)
				st.rest -= n
			}
			if _, err := st.conn.Write(b[:n]); err != nil {
				return 0, err
			}
			b = b[n:]
			if len(b) == 0 {
				return size, nil
			}
			continue
		}
		var err error
		if b, err = st.message(b); err != nil || len(b) == 0 {
			return size, err
		}
	}
}

// Flush does nothing. Write holds back only what has to be answered or passed as a whole,
// and not for longer than holdFor.
func (st *Stream) Flush() error { return nil }

// message takes what b has of one message, and returns the rest of b.
func (st *Stream) message(b []byte) (rest []byte, err error) {
	st.unhold()
	want := lengthSize
	if len(st.held) < lengthSize {
		n := min(len(b), lengthSize-len(st.held))
		st.held, b = append(st.held, b[:n]...), b[n:]
	}
	if len(st.held) >= lengthSize {
		length := int(binary.BigEndian.Uint16(st.held))
		want += length
		if length < headerSize || length > maxOwnQuery {
			st.foreign = length < headerSize
			return b, st.release(want)
		}
		n := min(len(b), want-len(st.held))
		st.held, b = append(st.held, b[:n]...), b[n:]
	}
	if len(st.held) < want {
		st.hold()
		return b, nil
	}
	query := st.held[lengthSize:]
	if query[2]&flagQR != 0 || int(query[2]&maskOpcode)>>3 > dns.OpcodeUpdate {
		st.foreign = true
	} else if answer := st.server.ownAnswer(st.client, query, true); answer != nil {
		st.held = nil
		st.answer(answer)
		return b, nil
	} else if st.follows != nil {
		st.server.noteQuestion(pendingKey{stream: st}, st.client, query)
	}
	return b, st.release(want)
}

// release sends what is held of a message of size bytes. Write then passes the rest of
// that message as it comes.
func (st *Stream) release(size int) error {
	held := st.held
	st.held, st.rest = nil, size-len(held)
	_, err := st.conn.Write(held)
	return err
}

// hold limits the time for which the message that has begun is held back. After the end
// of the connection it starts no timer: nobody would stop it.
func (st *Stream) hold() {
	if st.ctx.Err() != nil {
		return
	}
	st.holds++
	hold := st.holds
	st.timer = time.AfterFunc(holdFor, func() { st.expire(hold) })
}

// unhold ends the last hold. Its timer may have fired already, and wait for the lock:
// expire then finds that the number of the hold is over.
func (st *Stream) unhold() {
	st.holds++
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
}

// expire sends what has been held back for holdFor: the program may not speak DNS.
func (st *Stream) expire(hold uint64) {
	st.writing.Lock()
	defer st.writing.Unlock()
	if hold != st.holds || len(st.held) == 0 {
		return
	}
	st.foreign = true
	st.conn.Write(st.held) // the next Write meets the same error
	st.held = nil
}

// stopHolding ends the last hold, since the connection has ended.
func (st *Stream) stopHolding() {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.unhold()
	st.held = nil
}

// CloseWrite says that the program sends no more.
func (st *Stream) CloseWrite() error {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.sent = true
	st.unhold()
	if len(st.held) > 0 {
		st.conn.Write(st.held) // CloseWrite meets the same error
		st.held = nil
	}
	return st.conn.CloseWrite()
}
