package meter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Obey executes the orders that it reads, until the end of the input. It writes an empty
// Result when it has its first connection, so that no measurement begins before the path
// is warm.
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
	asked := &client{dial: dial}
	for {
		var o Order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("order: %w", err)
		}
		r, err := asked.measure(ctx, o)
		if err != nil {
			r = Result{Failed: fmt.Sprintf("%s: %v", o.Measure, err)}
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// A client executes orders.
type client struct {
	dial Dialer
	idle []Conn
}

func (c *client) measure(ctx context.Context, o Order) (Result, error) {
	switch o.Measure {
	case Connect:
		return connects(ctx, c.dial, o.Count)
	case RoundTrip:
		return roundTrips(ctx, c.dial, o.Count, o.Size)
	case Bulk:
		return bulk(ctx, c.dial, o)
	case Small:
		return small(ctx, c.dial, o.Count, o.Size)
	case Churn:
		return churn(ctx, c.dial, o.Streams, o.Time)
	case Idle:
		return c.rest(ctx, o.Count)
	case Getsockname:
		return getsocknames(ctx, c.dial, o.Count)
	case Accept:
		return accepts(o.Count)
	case ConnectHere:
		return connectsHere(o.Count)
	case DatagramTrip:
		return datagramTrips(o)
	case Datagrams:
		return datagrams(ctx, o)
	case Questions:
		return questions(ctx, o)
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

// firstByte sends the mode and waits for the answer. It closes the connection if that
// fails.
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
