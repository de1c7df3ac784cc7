package meter

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
)

// Serve serves connections until the listener ends, and returns why it did.
func Serve(l Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go handle(c) // ends with its client; the process is killed at the end
	}
}

// handle serves one connection. It ignores errors, because the client notices them.
func handle(c Conn) {
	defer c.Close()
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return
	}
	if _, err := c.Write(mode[:]); err != nil {
		return
	}
	switch mode[0] {
	case modeEcho:
		echo(c)
	case modeSink:
		sink(c)
	case modeDuplex:
		duplex(c)
	case modeIdle:
		_, _ = c.Read(mode[:])
	}
}

func echo(c Conn) {
	buf := make([]byte, bulkBuffer)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func sink(c Conn) {
	if total, _, err := receive(c); err == nil {
		_, _ = c.Write(binary.BigEndian.AppendUint64(nil, total))
	}
}

func duplex(c Conn) {
	var (
		reading sync.WaitGroup
		ended   atomic.Bool
		total   uint64
		readErr error
	)
	reading.Go(func() {
		defer ended.Store(true)
		total, _, readErr = receive(c)
	})
	_, err := send(c, func() bool { return !ended.Load() })
	if err != nil {
		c.Close()
	}
	reading.Wait()
	if err == nil && readErr == nil {
		_, _ = c.Write(binary.BigEndian.AppendUint64(nil, total))
	}
}
