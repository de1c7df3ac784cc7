package coordinator

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// someMessages has one of every kind.
func someMessages() []*message {
	m := Member{ID: 7, Name: "db", Addr: netip.MustParseAddr("10.111.0.8"),
		Key: transport.Key{1}, Host: "h1", Since: time.Unix(1700000000, 0).UTC()}
	remote := netip.MustParseAddrPort("203.0.113.7:4242")
	return []*message{
		{Hello: &hello{Version: protocolVersion, Token: "t", Name: "db", Host: "h1"}},
		{Heartbeat: heartbeatPad},
		{Report: &statusReport{Paths: []PathReport{{Peer: 3, Kind: "lan", Remote: remote,
			RTT: time.Millisecond, BytesSent: 1, BytesReceived: 2}}}},
		{Welcome: &welcome{Self: m, Prefix: DefaultPrefix, Ticket: "x", Reflexive: remote,
			Lease: time.Second, Started: m.Since, Program: "v1"}},
		{Page: &page{Members: []Member{m}, Last: true}},
		{Updates: someNews()[0]},
		{Signal: &signal{Seq: 1, Node: 2, Data: []byte("hello")}},
		{Ack: &ack{Seq: 1, Code: ackBusy}},
		{ObservedAddr: &observedAddr{Reflexive: remote}},
		{Ping: &ping{}},
	}
}

func TestMessagesComeBack(t *testing.T) {
	for _, m := range someMessages() {
		kind, err := m.kind()
		if err != nil {
			t.Fatal(err)
		}
		whole := frame(m)
		got, err := readMessage(bytes.NewReader(whole), maxFrame)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: came back as %+v (%v)", kind, got, err)
		}
		for n := range whole {
			if _, err := readMessage(bytes.NewReader(whole[:n]), maxFrame); err == nil {
				t.Errorf("%s: %d of %d bytes were taken for all", kind, n, len(whole))
			}
		}
	}
}

// A later version may say more: what this one does not know is ignored.
func TestUnknownFields(t *testing.T) {
	m, err := decodeMessage([]byte(`{"hello":{"version":9,"name":"db","later":{"x":[1]}},"since":5}`))
	if err != nil || m.Hello == nil || m.Hello.Version != 9 || m.Hello.Name != "db" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestDecodeMessageRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	paths, _ := json.Marshal(make([]PathReport, maxPaths+1))
	data, _ := json.Marshal(make([]byte, MaxSignal+1))
	for name, text := range map[string]string{
		"empty":           ``,
		"null":            `null`,
		"no body":         `{}`,
		"two bodies":      `{"alive":{"pad":""},"mirror":{"reflexive":"1.2.3.4:5"}}`,
		"unknown body":    `{"hallo":{}}`,
		"two messages":    `{"alive":{"pad":""}} {"alive":{"pad":""}}`,
		"wrong type":      `{"hello":{"version":"1"}}`,
		"no JSON":         "\x00\x01\x02",
		"long token":      `{"hello":{"version":2,"token":"` + long(maxToken+1) + `"}}`,
		"long ticket":     `{"hello":{"version":2,"ticket":"` + long(maxTicket+1) + `"}}`,
		"long host":       `{"hello":{"version":2,"host":"` + long(maxHost+1) + `"}}`,
		"host to escape":  `{"hello":{"version":2,"host":"a\u0000"}}`,
		"long signal":     `{"signal":{"node":1,"data":` + string(data) + `}}`,
		"many paths":      `{"report":{"paths":` + string(paths) + `}}`,
		"path kind":       `{"report":{"paths":[{"peer":1,"kind":"` + long(64) + `","remote":"1.2.3.4:5","rtt_ns":0,"bytes_sent":0,"bytes_received":0}]}}`,
		"path zone":       `{"report":{"paths":[{"peer":1,"kind":"lan","remote":"[fe80::1%` + long(99) + `]:5","rtt_ns":0,"bytes_sent":0,"bytes_received":0}]}}`,
		"negative id":     `{"signal":{"node":-1,"data":""}}`,
		"deeply nested":   strings.Repeat(`{"hello":`, 20000),
		"invalid address": `{"mirror":{"reflexive":"1.2.3.4"}}`,
	} {
		if m, err := decodeMessage([]byte(text)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %+v, %v; want ErrProtocol", name, m, err)
		}
	}
}

func TestReadMessageKeepsToItsLimit(t *testing.T) {
	b := binary.BigEndian.AppendUint32(nil, maxHello+1)
	if _, err := readMessage(bytes.NewReader(b), maxHello); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v, want ErrProtocol", err)
	}
	// A length alone takes no memory to speak of.
	b = binary.BigEndian.AppendUint32(nil, maxFrame)
	if n := testing.AllocsPerRun(10, func() {
		_,
			_ = readMessage(bytes.NewReader(b), maxFrame)
	}); n > 20 {
		t.Errorf("%v allocations for a length without a message", n)
	}
}

// The largest page that members can bring about fits into a frame: frame panics
// on one that does not.
func TestLargestPageFits(t *testing.T) {
	member := Member{ID: math.MaxUint32, Name: strings.Repeat("a", maxLabel),
		Addr:         netip.MustParseAddr("255.255.255.254"),
		Addr6:        netip.MustParseAddr("fd6f:7865:7200:1111:2222:3333:4444:5555"),
		Host:         strings.Repeat("h", maxHost),
		Since:        time.Date(2099, 12, 31, 23, 59, 59, 999999999, time.UTC),
		Unresponsive: true,
		Program:      strings.Repeat("p", maxHost),
		About:        &About{Command: strings.Repeat("c", maxHost)}}
	for range MaxPorts {
		member.About.Ports = append(member.About.Ports, math.MaxUint16)
	}
	path := PathReport{Peer: math.MaxUint32, Kind: strings.Repeat("k", maxLabel),
		Remote: netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"),
		RTT:    math.MinInt64, BytesSent: math.MaxUint64, BytesReceived: math.MaxUint64}
	for _, paths := range []int{0, 1, maxPaths / pageMembers, 7, maxPaths} {
		var members []Member
		for range 3 * pageMembers {
			m := member
			m.Paths = make([]PathReport, paths)
			for i := range m.Paths {
				m.Paths[i] = path
			}
			members = append(members, m)
			if len(members)*paths > 3*maxPaths {
				break
			}
		}
		r, n, pages := bytes.NewReader(appendPages(nil, members)), 0, 0
		for {
			m, err := readMessage(r, maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			if n += len(m.Page.Members); m.Page.Last {
				break
			}
		}
		if n != len(members) || pages < 2 || r.Len() != 0 {
			t.Errorf("%d paths each: %d of %d members in %d pages, %d bytes left", paths,
				n, len(members), pages, r.Len())
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range someMessages() {
		f.Add(frame(m)[4:])
	}
	for _, n := range someNews() {
		f.Add(n.appendTo(nil)[4:])
	}
	f.Add([]byte(`{"hello":{"version":2},"hello":{"token":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("error %v does not wrap ErrProtocol", err)
			}
			return
		}
		text, err := appendFrame(nil, m)
		if err != nil {
			return // such as a signal with a time that JSON cannot hold
		}
		again, err := decodeMessage(text[4:])
		if err != nil {
			t.Fatalf("%s does not come back: %v", text[4:], err)
		}
		if twice, err := appendFrame(nil, again); err != nil ||
			!bytes.Equal(text, twice) {
			t.Fatalf("%s came back as %s (%v)", text[4:], twice, err)
		}
	})
}
