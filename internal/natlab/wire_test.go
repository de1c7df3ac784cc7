package natlab_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestDelay has a TCP connection over a long wire: it carries everything, and no answer
// comes early.
func TestDelay(t *testing.T) {
	const delay = 20 * time.Millisecond
	lab := natlab.ForTest(t)
	server := public(t, lab, "server")
	client := nated(t, lab, "client", natlab.NAT{Delay: delay})
	l, err := server.Listen(t.Context(), "tcp4", server.Addr().String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sum := make(chan [sha256.Size]byte, 1)
	go func() {
		var b bytes.Buffer
		if c, err := l.Accept(); err == nil {
			io.Copy(&b, c)
			c.Close()
		}
		sum <- sha256.Sum256(b.Bytes())
	}()
	start := time.Now()
	c, err := client.Dial(t.Context(), "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("connected after %v, sooner than a round trip of %v", took, 2*delay)
	}
	sent := make([]byte, 4<<20)
	rand.Read(sent)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-sum; got != sha256.Sum256(sent) {
		t.Error("what arrived is not what was sent")
	}
	c.Close()
}
