package resolver

import (
	"encoding/binary"
	"iter"
	"slices"
)

// frames finds the ends of messages in a TCP stream (RFC 1035 section 4.2.2).
type frames struct {
	size []byte // the first byte of a length, if only that has come
	rest int    // bytes to come of the message that has begun
}

// between reports whether no message has begun.
func (f *frames) between() bool { return f.rest == 0 && len(f.size) == 0 }

// next takes the next bytes of the stream. It returns where in b the last message ends,
// or -1 if none does.
func (f *frames) next(b []byte) (end int) {
	end = -1
	for at := 0; at < len(b); {
		if f.rest == 0 {
			f.size = append(f.size, b[at])
			at++
			if len(f.size) < lengthSize {
				continue
			}
			f.rest = int(binary.BigEndian.Uint16(f.size))
			f.size = f.size[:0]
		}
		n := min(f.rest, len(b)-at)
		f.rest -= n
		at += n
		if f.rest == 0 {
			end = at
		}
	}
	return end
}

// A follower reassembles the messages of a TCP stream. It holds at most one message.
type follower struct{ held []byte }

// messages returns the messages that end in b. Each is valid until the next one.
func (f *follower) messages(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		f.held = append(f.held, b...)
		for len(f.held) >= lengthSize {
			end := lengthSize + int(binary.BigEndian.Uint16(f.held))
			if len(f.held) < end {
				break
			}
			if !yield(f.held[lengthSize:end]) {
				return
			}
			f.held = f.held[end:]
		}
		f.held = slices.Clone(f.held)
	}
}
