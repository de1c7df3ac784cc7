package meter

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// What an Order may ask for.
const (
	Connect     = "connect"     // connect, send a byte, get one: Count times, one after the other
	RoundTrip   = "roundtrip"   // send Size bytes and get them back: Count times, on one connection
	Bulk        = "bulk"        // send for Time on Streams connections at once
	Getsockname = "getsockname" // getsockname(2) on a connected socket: Count times
)

// An Order asks a client for one measurement.
type Order struct {
	Measure string
	Count   int           `json:",omitempty"`
	Size    int           `json:",omitempty"` // bytes
	Streams int           `json:",omitempty"`
	Time    time.Duration `json:",omitempty"` // nanoseconds
}

// A Result is the answer to an Order.
type Result struct {
	Samples []time.Duration `json:",omitempty"` // of whatever was done Count times, in nanoseconds
	Dials   []time.Duration `json:",omitempty"` // of Connect: the part of it until there was a connection
	Bytes   uint64          `json:",omitempty"` // that have arrived
	Elapsed time.Duration   `json:",omitempty"` // until they had, in nanoseconds
	Failed  string          `json:",omitempty"`
}

// Obey carries out the orders that it reads until there are no more. It writes an empty Result when it has a first
// connection, so that nothing is measured before the path is warm.
func Obey(ctx context.Context, dial Dialer, orders io.Reader, results io.Writer) error {
	out := json.NewEncoder(results)
	c, err := open(ctx, dial, modeEcho)
	if err != nil {
		return out.Encode(Result{Failed: err.Error()})
	}
	c.Close()
	if err := out.Encode(Result{}); err != nil {
		return err
	}
	in := json.NewDecoder(orders)
	for {
		var o Order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("order: %w", err)
		}
		r, err := measure(ctx, dial, o)
		if err != nil {
			r = Result{Failed: fmt.Sprintf("%s: %v", o.Measure, err)}
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func measure(ctx context.Context, dial Dialer, o Order) (Result, error) {
	switch o.Measure {
	case Connect:
		return connects(ctx, dial, o.Count)
	case RoundTrip:
		return roundTrips(ctx, dial, o.Count, o.Size)
	case Bulk:
		return bulk(ctx, dial, o.Streams, o.Time)
	case Getsockname:
		return getsocknames(ctx, dial, o.Count)
	}
	return Result{}, errors.New("unknown order")
}

// open connects and waits for the first byte.
func open(ctx context.Context, dial Dialer, mode byte) (Conn, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return c, firstByte(c, mode)
}

// firstByte sends the mode and waits for the answer. It closes the connection if that fails.
func firstByte(c Conn, mode byte) error {
	b := [1]byte{mode}
	_, err := c.Write(b[:])
	if err == nil {
		_, err = io.ReadFull(c, b[:])
	}
	if err != nil {
		c.Close()
		return fmt.Errorf("first byte: %w", err)
	}
	return nil
}

func connects(ctx context.Context, dial Dialer, count int) (Result, error) {
	r := Result{Samples: make([]time.Duration, count), Dials: make([]time.Duration, count)}
	for i := range count {
		start := time.Now()
		c, err := dial(ctx)
		r.Dials[i] = time.Since(start)
		if err != nil {
			return Result{}, err
		}
		err = firstByte(c, modeEcho)
		r.Samples[i] = time.Since(start)
		if err != nil {
			return Result{}, err
		}
		c.Close()
	}
	return r, nil
}

func roundTrips(ctx context.Context, dial Dialer, count, size int) (Result, error) {
	c, err := open(ctx, dial, modeEcho)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	samples := make([]time.Duration, count)
	out, in := make([]byte, size), make([]byte, size)
	for i := range samples {
		start := time.Now()
		if _, err := c.Write(out); err != nil {
			return Result{}, err
		}
		if _, err := io.ReadFull(c, in); err != nil {
			return Result{}, err
		}
		samples[i] = time.Since(start)
	}
	return Result{Samples: samples}, nil
}

// bulk sends for a while and waits until all has arrived.
func bulk(ctx context.Context, dial Dialer, streams int, while time.Duration) (Result, error) {
	conns := make([]Conn, streams)
	for i := range conns {
		c, err := open(ctx, dial, modeSink)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var (
		wg      sync.WaitGroup
		arrived = make([]uint64, streams)
		errs    = make([]error, streams)
		start   = time.Now()
	)
	for i, c := range conns {
		wg.Go(func() { arrived[i], errs[i] = pour(c, start.Add(while)) })
	}
	wg.Wait()
	r := Result{Elapsed: time.Since(start)}
	for _, n := range arrived {
		r.Bytes += n
	}
	return r, errors.Join(errs...)
}

// pour sends until a deadline, and returns how many bytes have arrived, which are all.
func pour(c Conn, until time.Time) (arrived uint64, err error) {
	buf := make([]byte, bulkBuffer)
	var sent uint64
	for time.Now().Before(until) {
		n, err := c.Write(buf)
		sent += uint64(n)
		if err != nil {
			return 0, err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	var total [8]byte
	if _, err := io.ReadFull(c, total[:]); err != nil {
		return 0, fmt.Errorf("after %d bytes: %w", sent, err)
	}
	if arrived = binary.BigEndian.Uint64(total[:]); arrived != sent {
		return 0, fmt.Errorf("%d of %d bytes have arrived", arrived, sent)
	}
	return arrived, nil
}
