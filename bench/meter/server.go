package meter

import (
	"encoding/binary"
	"io"
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

// handle serves one connection. Its errors are the client's to notice.
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
	buf := make([]byte, bulkBuffer)
	var total uint64
	for {
		n, err := c.Read(buf)
		total += uint64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return
		}
	}
	_, _ = c.Write(binary.BigEndian.AppendUint64(nil, total))
}
