package meter

import (
	"context"
	"io"
	"time"
)

func connects(ctx context.Context, dial Dialer, count int) (Result, error) {
	r := Result{Samples: make([]time.Duration, count),
		Dials: make([]time.Duration, count)}
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
