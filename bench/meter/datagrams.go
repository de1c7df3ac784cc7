package meter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A datagram begins with its mode. The number of a measurement follows, 8 bytes big
// endian, so that datagrams that come late count for nothing.
const (
	datagramEcho  = 'e' // the server sends the datagram back
	datagramCount = 'c' // the server counts the datagram
	// The server answers with the number of datagrams that it has counted, and with the
	// nanoseconds between the first and the last one, 8 bytes big endian each.
	datagramTotal = 't'

	datagramHeader = 1 + 8
	totalSize      = datagramHeader + 16
)

// ServeDatagrams serves datagrams until the socket fails, and returns why it did.
func ServeDatagrams(c net.PacketConn) error {
	var (
		buf         [1 << 16]byte
		counted     uint64 // the measurement
		count       uint64
		first, last time.Time
	)
	for {
		n, from, err := c.ReadFrom(buf[:])
		if err != nil {
			return err
		}
		if n < datagramHeader {
			continue
		}
		id := binary.BigEndian.Uint64(buf[1:])
		answer := buf[:n]
		switch buf[0] {
		case datagramCount:
			last = time.Now()
			if id != counted {
				counted, count, first = id, 0, last
			}
			count++
			continue
		case datagramTotal:
			answer = buf[:totalSize]
			clear(answer[datagramHeader:])
			if id == counted {
				binary.BigEndian.PutUint64(answer[datagramHeader:], count)
				binary.BigEndian.PutUint64(answer[datagramHeader+8:],
					uint64(last.Sub(first)))
			}
		}
		_, _ = c.WriteTo(answer, from) // the client notices errors
	}
}

// answerTime is how long a client waits for an answer before it asks again.
const answerTime = 200 * time.Millisecond

// datagramTrips measures round trips of datagrams. A datagram that is lost is sent again,
// and its time is that of both.
func datagramTrips(o Order) (Result, error) {
	c, err := net.Dial("udp4", o.To)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	out, in := datagram(datagramEcho, o.Size), make([]byte, o.Size+1)
	r := Result{Samples: make([]time.Duration, o.Count)}
	for i := range r.Samples {
		start := time.Now()
		binary.BigEndian.PutUint64(out[1:], uint64(start.UnixNano()))
		if err := ask(c, out, in); err != nil {
			return Result{}, err
		}
		r.Samples[i] = time.Since(start)
	}
	return r, nil
}

// datagram returns a datagram of a new measurement.
func datagram(mode byte, size int) []byte {
	b := make([]byte, max(size, datagramHeader))
	b[0] = mode
	binary.BigEndian.PutUint64(b[1:], uint64(time.Now().UnixNano()))
	return b
}

// ask sends a question until its answer arrives in b.
func ask(c net.Conn, question, b []byte) error {
	for range 20 {
		if _, err := c.Write(question); err != nil {
			return err
		}
		end := time.Now().Add(answerTime)
		for {
			if err := c.SetReadDeadline(end); err != nil {
				return err
			}
			n, err := c.Read(b)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
			case err != nil:
				return err
			case n < datagramHeader || string(b[:datagramHeader]) !=
				string(question[:datagramHeader]):
				continue // the answer to an earlier question
			default:
				return nil
			}
			break
		}
	}
	return fmt.Errorf("no answer from %v: %w", c.RemoteAddr(), os.ErrDeadlineExceeded)
}

// pace is how often a client sends when it sends at a rate.
const pace = time.Millisecond

// datagrams sends datagrams for a time, at a rate or as fast as the socket takes them,
// and asks the server how many have arrived.
func datagrams(ctx context.Context, o Order) (Result, error) {
	c, err := net.Dial("udp4", o.To)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	out := datagram(datagramCount, o.Size)
	var r Result
	start := time.Now()
	for time.Since(start) < o.Time && ctx.Err() == nil {
		due := r.Sent + 64
		if o.Rate > 0 {
			due = int(float64(o.Rate) * time.Since(start).Seconds())
		}
		for ; r.Sent < due; r.Sent++ {
			if _, err := c.Write(out); err != nil {
				return Result{}, err
			}
		}
		if o.Rate > 0 {
			time.Sleep(pace)
		}
	}
	return r, arrived(c, out, &r)
}

// arrived asks the server how many datagrams of a measurement have arrived, until no more
// do.
func arrived(c net.Conn, out []byte, r *Result) error {
	question, answer := append([]byte(nil), out[:datagramHeader]...),
		make([]byte, totalSize+1)
	question[0] = datagramTotal
	for before := -1; r.Count != before; {
		before = r.Count
		time.Sleep(answerTime)
		if err := ask(c, question, answer); err != nil {
			return err
		}
		r.Count = int(binary.BigEndian.Uint64(answer[datagramHeader:]))
		r.Elapsed = time.Duration(binary.BigEndian.Uint64(answer[datagramHeader+8:]))
	}
	return nil
}

// questions asks the name server for the IPv4 address of a name for a time, with a number
// of questions at a time, and a new socket for each, as libc does.
func questions(ctx context.Context, o Order) (Result, error) {
	resolver := &net.Resolver{PreferGo: true}
	var (
		workers sync.WaitGroup
		done    atomic.Int64
		errs    = make([]error, o.Streams)
		start   = time.Now()
	)
	for i := range o.Streams {
		workers.Go(func() {
			for time.Since(start) < o.Time && errs[i] == nil {
				_, errs[i] = resolver.LookupNetIP(ctx, "ip4", o.To)
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return Result{Count: int(done.Load()), Elapsed: time.Since(start)},
		errors.Join(errs...)
}
