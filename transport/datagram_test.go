package transport

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
)

func testDatagram(size int) Datagram {
	d := Datagram{Source: header().Source, Destination: header().Destination,
		Kind: DatagramUDP}
	for i := range size {
		d.Payload = append(d.Payload, byte(i*7))
	}
	return d
}

func TestParseDatagram(t *testing.T) {
	six := Datagram{
		Kind:        DatagramUDP,
		Source:      netip.MustParseAddrPort("[fd6f:7865:72::2]:1"),
		Destination: netip.MustParseAddrPort("[fd6f:7865:72::3]:65535"),
		Payload:     []byte("x"),
	}
	unreachable := testDatagram(MaxQuote)
	unreachable.Kind = DatagramUnreachable
	echo := testDatagram(64)
	echo.Kind = DatagramEcho
	chosen := six
	chosen.IP = stream.IPFields{TTL: 255, TOS: 0xb8}
	marked := testDatagram(5)
	marked.IP.TOS = 2
	for _, d := range []Datagram{testDatagram(0), testDatagram(MaxDatagram), six,
		unreachable, echo, chosen, marked} {
		b, err := AppendDatagram(nil, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseDatagram(b)
		if err != nil || got.Source != d.Source || got.Destination != d.Destination ||
			got.Kind != d.Kind || got.IP != d.IP || !bytes.Equal(got.Payload, d.Payload) {
			t.Errorf("%v -> %v (%d bytes) came back as %v, %v", d.Source, d.Destination,
				len(d.Payload), got, err)
		}
		for n := range len(b) - len(d.Payload) {
			if _, err := ParseDatagram(b[:n]); err == nil {
				t.Errorf("%d of %d bytes of header were accepted", n,
					len(b)-len(d.Payload))
			}
		}
	}
	for _, in := range []string{"0504 0a6f0002 0001 0a6f0003 0002",
		"0105 0a6f0002 0001 0a6f0003 0002", "0184 0000 0a6f0002 0001 0a6f0003 0002",
		"0184 40"} {
		if d, err := ParseDatagram(unhex(t, in)); err == nil {
			t.Errorf("%s was accepted as %v", in, d)
		}
	}
	mixed := Datagram{Source: six.Source, Destination: testDatagram(0).Destination,
		Kind: DatagramUDP}
	long := testDatagram(MaxQuote + 1)
	b, _ := AppendDatagram(nil, long)
	b[0] = byte(DatagramUnreachable)
	if _, err := ParseDatagram(b); err == nil {
		t.Error("a quote that is too long was accepted")
	}
	long.Kind = DatagramUnreachable
	for _, d := range []Datagram{{}, mixed, long, testDatagram(MaxDatagram + 1)} {
		if _, err := AppendDatagram(nil, d); err == nil {
			t.Errorf("%v -> %v, %d bytes, was encoded", d.Source, d.Destination,
				len(d.Payload))
		}
	}
}

func FuzzParseDatagram(f *testing.F) {
	d := testDatagram(5)
	b, _ := AppendDatagram(nil, d)
	f.Add(b)
	d.IP = stream.IPFields{TTL: 255, TOS: 0xb8}
	b, _ = AppendDatagram(nil, d)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDatagram(b)
		if err != nil {
			return
		}
		again, err := AppendDatagram(nil, d)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x, %v", b, again, err)
		}
	})
}

// A datagram without IPFields is as the first version of the protocol has it.
func TestWithoutIPFields(t *testing.T) {
	d := testDatagram(5)
	want, err := AppendDatagram(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []stream.IPFields{{}, {TTL: 255}, {TTL: 1, TOS: 0xff}} {
		d.IP = ip
		b, err := AppendDatagram(nil, d)
		if got := withoutIPFields(b); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %x, %v, want %x", ip, got, err, want)
		}
	}
}

// Datagrams arrive whole, whatever their size, also when they are what opens
// the connection.
func TestDatagrams(t *testing.T) { virtual(t, testDatagrams) }

func testDatagrams(t *testing.T, l *lab) {
	type received struct {
		from uint32
		d    Datagram
	}
	got := make(chan received, 16)
	a := l.node(1)
	l.node(2, func(c *Config) {
		c.Datagram = func(from uint32,
			d Datagram) {
			got <- received{from, d}
		}
	})
	for _, size := range []int{100, 0, 1200, 1500, 20_000, MaxDatagram} {
		want := testDatagram(size)
		if err := a.SendDatagram(2, want); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-got:
			if r.from != 1 || r.d.Source != want.Source ||
				r.d.Destination != want.Destination ||
				!bytes.Equal(r.d.Payload, want.Payload) {
				t.Errorf("%d bytes came as %d from %d", size, len(r.d.Payload), r.from)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d bytes did not arrive", size)
		}
	}
	if err := a.SendDatagram(9, testDatagram(1)); err == nil {
		t.Error("a datagram to nobody was accepted")
	}
}
