package meter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// bulk sends for a time and waits until everything has arrived.
func bulk(ctx context.Context, dial Dialer, o Order) (Result, error) {
	mode, transfer := byte(modeSink), pour
	if o.Both {
		mode, transfer = modeDuplex, exchange
	}
	conns := make([]Conn, o.Streams)
	for i := range conns {
		c, err := open(ctx, dial, mode)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var (
		wg      sync.WaitGroup
		arrived = make([]uint64, o.Streams)
		errs    = make([]error, o.Streams)
		start   = time.Now()
	)
	for i, c := range conns {
		wg.Go(func() { arrived[i], errs[i] = transfer(c, start.Add(o.Time)) })
	}
	wg.Wait()
	r := Result{Elapsed: time.Since(start)}
	for _, n := range arrived {
		r.Bytes += n
	}
	return r, errors.Join(errs...)
}

// small sends many writes of a few bytes each, and waits until everything has arrived.
func small(ctx context.Context, dial Dialer, count, size int) (Result, error) {
	c, err := open(ctx, dial, modeSink)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	buf := make([]byte, size)
	start := time.Now()
	for range count {
		if _, err := c.Write(buf); err != nil {
			return Result{}, err
		}
	}
	n, err := finish(c, uint64(count)*uint64(size))
	return Result{Bytes: n, Elapsed: time.Since(start)}, err
}

// pour sends until a deadline, and returns how many bytes have arrived. All bytes must
// have arrived.
func pour(c Conn, until time.Time) (arrived uint64, err error) {
	sent, err := send(c, func() bool { return time.Now().Before(until) })
	if err != nil {
		return 0, err
	}
	return finish(c, sent)
}

// finish closes the sending side, and reads from the server how many bytes have arrived.
func finish(c Conn, sent uint64) (arrived uint64, err error) {
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	var total [8]byte
	if _, err := io.ReadFull(c, total[:]); err != nil {
		return 0, fmt.Errorf("after %d bytes: %w", sent, err)
	}
	return checked(total, sent)
}

func checked(total [8]byte, sent uint64) (uint64, error) {
	arrived := binary.BigEndian.Uint64(total[:])
	if arrived != sent {
		return 0, fmt.Errorf("%d of %d bytes have arrived", arrived, sent)
	}
	return arrived, nil
}

// exchange sends until a deadline while the far side does the same, and returns how many
// bytes have arrived at both.
func exchange(c Conn, until time.Time) (arrived uint64, err error) {
	var (
		reading sync.WaitGroup
		in      uint64
		total   [8]byte
		readErr error
	)
	reading.Go(func() { in, total, readErr = receive(c) })
	sent, err := send(c, func() bool { return time.Now().Before(until) })
	if err == nil {
		err = c.CloseWrite()
	}
	if err != nil {
		c.Close() // otherwise the other direction would wait forever
	}
	reading.Wait()
	if err := errors.Join(err, readErr); err != nil {
		return 0, err
	}
	out, err := checked(total, sent)
	return out + in - uint64(len(total)), err
}

// send writes as long as more returns true.
func send(c Conn, more func() bool) (sent uint64, err error) {
	buf := make([]byte, bulkBuffer)
	for more() {
		n, err := c.Write(buf)
		sent += uint64(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// receive reads until the end. It returns the number of bytes, and the last eight bytes.
func receive(c Conn) (n uint64, last [8]byte, err error) {
	buf := make([]byte, bulkBuffer)
	for {
		got, err := c.Read(buf)
		n += uint64(got)
		if got >= len(last) {
			copy(last[:], buf[got-len(last):got])
		} else {
			copy(last[:], append(last[got:], buf[:got]...))
		}
		if err == io.EOF {
			return n, last, nil
		}
		if err != nil {
			return n, last, err
		}
	}
}
