package over

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// Proxy forwards connections until the listener ends. Between TCP connections io.Copy
// uses splice(2), so the bytes stay in the kernel.
func Proxy(ctx context.Context, l meter.Listener, dial meter.Dialer) error {
	for {
		in, err := l.Accept()
		if errors.Is(err, unix.EMFILE) { // each idle connection needs six descriptors
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		go pass(ctx, in, dial) // ends with the connection
	}
}

func pass(ctx context.Context, in meter.Conn, dial meter.Dialer) {
	defer in.Close()
	out, err := dial(ctx)
	if err != nil {
		return // the client sees its connection end
	}
	defer out.Close()
	var both sync.WaitGroup
	for _, way := range [][2]meter.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].CloseWrite()
		})
	}
	both.Wait()
}
