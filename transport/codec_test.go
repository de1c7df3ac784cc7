package transport

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"

	"github.com/pion/stun/v3"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Header
		ok       bool
	}{
		{
			name: "inet", ok: true,
			in:   "0100000e 04 1538 0a6f0003 04 9c40 0a6f0002",
			want: header(),
		}, {
			name: "inet6", ok: true,
			in: "01000026 06 0050 fd6f7865007200000000000000000003 06 8000 fd6f7865007200000000000000000002",
			want: Header{
				Destination: netip.MustParseAddrPort("[fd6f:7865:72::3]:80"),
				Source:      netip.MustParseAddrPort("[fd6f:7865:72::2]:32768"),
			},
		}, {
			name: "unknown options", ok: true,
			in:   "01000013 04 1538 0a6f0003 04 9c40 0a6f0002 ff 01 aa 80 00",
			want: header(),
		},
		{
			name: "direct", ok: true,
			in: "01000012 04 1538 0a6f0003 04 9c40 0a6f0002 08 02 9c41",
			want: Header{Source: header().Source, Destination: header().Destination,
				DirectPort: 40001},
		},
		{
			name: "port of a direct connection cut short",
			in:   "01000011 04 1538 0a6f0003 04 9c40 0a6f0002 08 01 9c",
		},
		{
			name: "trial", ok: true,
			in: "01000010 04 1538 0a6f0003 04 9c40 0a6f0002 09 00",
			want: Header{Source: header().Source, Destination: header().Destination,
				DirectTrial: true},
		},
		{
			name: "near", ok: true,
			in: "01000014 04 1538 0a6f0003 04 9c40 0a6f0002 01 04 7f400008",
			want: Header{
				Destination: header().Destination, Source: header().Source,
				HostAddr: netip.MustParseAddr("127.64.0.8"),
			},
		},
		{
			name: "near, with a socket", ok: true,
			in: "0100001e 04 1538 0a6f0003 04 9c40 0a6f0002 01 04 7f400008 05 08 00000000000012ab",
			want: Header{
				Destination: header().Destination, Source: header().Source,
				HostAddr: netip.MustParseAddr("127.64.0.8"),
				Socket:   0x12ab,
			},
		},
		{name: "near, with a socket, cut short",
			in: "0100001d 04 1538 0a6f0003 04 9c40 0a6f0002 01 04 7f400008 05 07 000000000012ab"},
		{
			name: "urgent byte", ok: true,
			in: "01000020 04 0000 0a6f0003 04 0000 0a6f0002 04 10 0000000000000005 0000000000010000",
			want: Header{
				Destination: netip.MustParseAddrPort("10.111.0.3:0"),
				Source:      netip.MustParseAddrPort("10.111.0.2:0"),
				Urgent:      UrgentByte{Stream: 5, Offset: 1 << 16, Valid: true},
			},
		},
		{name: "urgent byte, cut short",
			in: "0100001f 04 0000 0a6f0003 04 0000 0a6f0002 04 0f 0000000000000005 00000000000100"},
		{
			name: "fields of IP headers", ok: true,
			in: "01000015 04 1538 0a6f0003 04 9c40 0a6f0002 06 02 ff b8 0a 01 fe",
			want: Header{
				Destination: header().Destination, Source: header().Source,
				IP: stream.IPFields{TTL: 255, TOS: 0xb8}, MinTTL: 254,
			},
		},
		{name: "fields of IP headers, cut short",
			in: "01000011 04 1538 0a6f0003 04 9c40 0a6f0002 06 01 ff"},
		{name: "lowest TTL, too long",
			in: "01000012 04 1538 0a6f0003 04 9c40 0a6f0002 0a 02 ff b8"},
		{
			name: "other fields of IP headers", ok: true,
			in: "0100001a 04 0000 0a6f0003 04 0000 0a6f0002 07 0a 0000000000000005 ff 00",
			want: Header{
				Destination: netip.MustParseAddrPort("10.111.0.3:0"),
				Source:      netip.MustParseAddrPort("10.111.0.2:0"),
				Update: IPUpdate{Stream: 5, IPFields: stream.IPFields{TTL: 255},
					Valid: true},
			},
		},
		{name: "other fields of IP headers, cut short",
			in: "01000018 04 0000 0a6f0003 04 0000 0a6f0002 07 08 0000000000000005"},
		{name: "near, not an address", in: "01000013 04 1538 0a6f0003 04 9c40 0a6f0002 01 03 7f4000"},
		{name: "empty", in: ""},
		{name: "later version", in: "0200000e 04 1538 0a6f0003 04 9c40 0a6f0002"},
		{name: "unknown flag", in: "0101000e 04 1538 0a6f0003 04 9c40 0a6f0002"},
		{name: "unknown family", in: "0100000e 05 1538 0a6f0003 04 9c40 0a6f0002"},
		{name: "no source", in: "01000007 04 1538 0a6f0003"},
		{name: "bytes after it", in: "0100000e 04 1538 0a6f0003 04 9c40 0a6f0002 00"},
		{name: "option cut short", in: "01000011 04 1538 0a6f0003 04 9c40 0a6f0002 ff 02 aa"},
		{name: "longer than allowed", in: "01000201" + strings.Repeat("00", 0x201)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := unhex(t, tc.in)
			got, err := ParseHeader(in)
			if (err == nil) != tc.ok || got != tc.want {
				t.Errorf("got %v, %v; want %v, ok %v", got, err, tc.want, tc.ok)
			}
			read, err := readHeader(bytes.NewReader(in))
			if tc.ok && (err != nil || read != tc.want) {
				t.Errorf("read %v, %v; want %v", read, err, tc.want)
			}
			if !tc.ok {
				return
			}
			for i := range in {
				if _, err := ParseHeader(in[:i]); err == nil {
					t.Errorf("accepted the first %d bytes", i)
				}
				if _, err := readHeader(bytes.NewReader(in[:i])); err == nil {
					t.Errorf("read the first %d bytes", i)
				}
			}
		})
	}
}

// A header takes what it takes: the stream's bytes follow.
func TestReadHeaderLeavesTheRest(t *testing.T) {
	b, err := AppendHeader(nil, header())
	if err != nil {
		t.Fatal(err)
	}
	r := strings.NewReader(string(b) + "data")
	if _, err := readHeader(r); err != nil || r.Len() != len("data") {
		t.Errorf("%d bytes left, %v; want 4", r.Len(), err)
	}
}

func TestAppendHeaderRefuses(t *testing.T) {
	good := header()
	for name, h := range map[string]Header{
		"no source":      {Destination: good.Destination},
		"no destination": {Source: good.Source},
		"zone": {Source: good.Source,
			Destination: netip.MustParseAddrPort("[fe80::1%eth0]:80")},
	} {
		if _, err := AppendHeader(nil, h); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	b, _ := AppendHeader(nil, header())
	f.Add(b)
	f.Add(append(bytes.Clone(b), 1, 0))
	h := header()
	h.Urgent = UrgentByte{Stream: 4, Offset: 1, Valid: true}
	b, _ = AppendHeader(nil, h)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if read, rerr := readHeader(bytes.NewReader(b)); err == nil &&
			(rerr != nil || read != h) {
			t.Fatalf("parsed %v, read %v (%v)", h, read, rerr)
		}
		if err != nil {
			return
		}
		again, err := AppendHeader(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseHeader(again); err != nil || back != h {
			t.Fatalf("%v came back as %v (%v)", h, back, err)
		}
	})
}

func sampleOffer() *offer {
	return &offer{
		wantsAnswer: true,
		credentials: credentials{"ABCDEFGH", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"},
		host:        "host",
		candidates: []candidate{
			{candidateReflexive, netip.MustParseAddrPort("203.0.113.7:4242")},
			{candidateHost, netip.MustParseAddrPort("[fd00::1]:1")},
		},
	}
}

func TestParseOffer(t *testing.T) {
	o := sampleOffer()
	b := o.appendTo(nil)
	got, err := parseOffer(b)
	if err != nil || !reflect.DeepEqual(got, o) {
		t.Fatalf("got %+v, %v; want %+v", got, err, o)
	}
	for i := range b {
		if _, err := parseOffer(b[:i]); err == nil {
			t.Errorf("accepted the first %d bytes", i)
		}
	}
	if _, err := parseOffer(append(bytes.Clone(b), 0)); err == nil {
		t.Error("accepted a byte more")
	}
	later := append(bytes.Clone(b), 9, 1, 0) // an option
	later[3] += 3
	if got, err := parseOffer(later); err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("with an option: %+v, %v", got, err)
	}
	for name, change := range map[string]func([]byte){
		"later version":  func(b []byte) { b[0] = 2 },
		"short ufrag":    func(b []byte) { b[4] = 1 },
		"too many":       func(b []byte) { b[4+9+33+5] = maxCandidates + 1 },
		"unknown family": func(b []byte) { b[4+9+33+5+2] = 5 },
	} {
		c := bytes.Clone(b)
		change(c)
		if _, err := parseOffer(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseOffer(f *testing.F) {
	f.Add(sampleOffer().appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err != nil {
			return
		}
		if back, err := parseOffer(o.appendTo(nil)); err != nil ||
			!reflect.DeepEqual(back, o) {
			t.Fatalf("%+v came back as %+v (%v)", o, back, err)
		}
		// Whatever is offered must not break the one that probes it.
		p := prober{timers: Timers{}.withDefaults(), host: o.host}
		p.noteOffer(o, testStart, 0)
		p.step(testStart, true, traffic{})
	})
}

func TestParseRelayFrame(t *testing.T) {
	frame := append(AppendRelayHeader([]byte("x"), 0x01020304), "packet"...)[1:]
	id, packet, err := ParseRelayFrame(frame)
	if id != 0x01020304 || string(packet) != "packet" || err != nil {
		t.Fatalf("got %#x, %q, %v", id, packet, err)
	}
	SetRelayID(frame, 7)
	if id, packet, err := ParseRelayFrame(frame); id != 7 || string(packet) != "packet" ||
		err != nil {
		t.Errorf("after SetRelayID: got %#x, %q, %v", id, packet, err)
	}
	if isQUIC(frame) || isSTUN(frame) {
		t.Error("a relay frame is taken for something else")
	}
	for i := range relayHeaderSize + 1 {
		if _, _, err := ParseRelayFrame(frame[:i]); err == nil {
			t.Errorf("accepted the first %d bytes", i)
		}
	}
	for i := range 2 {
		bad := bytes.Clone(frame)
		bad[i]++
		if _, _, err := ParseRelayFrame(bad); err == nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
}

func FuzzParseRelayFrame(f *testing.F) {
	f.Add(append(AppendRelayHeader(nil, 3), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, packet, err := ParseRelayFrame(b)
		if err != nil {
			return
		}
		if again := append(AppendRelayHeader(nil, id), packet...); !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
	})
}

func TestSTUNCheck(t *testing.T) {
	theirs := credentials{"THEIRS", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"}
	from := netip.MustParseAddrPort("203.0.113.7:4242")
	id := newTransactionID()
	b, err := newCheck(id, theirs, "OURS")
	if err != nil {
		t.Fatal(err)
	}
	if isQUIC(b) || !isSTUN(b) {
		t.Fatal("a check is not taken for STUN")
	}
	m, err := parseSTUN(b)
	if err != nil || m.Type != stun.BindingRequest || m.TransactionID != id {
		t.Fatalf("got %v, %v", m, err)
	}
	if to, sender, err := checkUsername(m); to != "THEIRS" || sender != "OURS" ||
		err != nil {
		t.Errorf("username %q, %q, %v", to, sender, err)
	}
	if !authentic(m, theirs.password) {
		t.Error("not authentic")
	}
	if authentic(m, "another password of that length") {
		t.Error("authentic with another password")
	}
	for i := range b { // nothing of it can be changed
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if m, err := parseSTUN(bad); err == nil && authentic(m, theirs.password) {
			t.Errorf("authentic with byte %d changed", i)
		}
		if m, err := parseSTUN(b[:i]); err == nil {
			t.Errorf("accepted the first %d bytes: %v", i, m)
		}
	}

	answer, err := answerCheck(m, from, theirs.password)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseSTUN(answer)
	if err != nil || a.Type != stun.BindingSuccess || a.TransactionID != id ||
		!authentic(a, theirs.password) {
		t.Fatalf("answer %v, %v", a, err)
	}
	if mapped, err := mappedAddress(a); mapped != from || err != nil {
		t.Errorf("mapped %v, %v; want %v", mapped, err, from)
	}
}

func TestSTUNBinding(t *testing.T) {
	from := netip.MustParseAddrPort("203.0.113.7:4242")
	id := newTransactionID()
	answer, err := answerBinding(newBinding(id), from)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseSTUN(answer)
	if err != nil || m.TransactionID != id {
		t.Fatalf("got %v, %v", m, err)
	}
	if mapped, err := mappedAddress(m); mapped != from || err != nil {
		t.Errorf("mapped %v, %v; want %v", mapped, err, from)
	}
	if _, err := answerBinding(answer, from); err == nil {
		t.Error("answered an answer: two servers would talk for ever")
	}
}

func FuzzSTUN(f *testing.F) {
	from := netip.MustParseAddrPort("203.0.113.7:4242")
	who := credentials{"THEIRS", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"}
	check, _ := newCheck(transactionID{1}, who, "OURS")
	f.Add(check)
	f.Add(newBinding(transactionID{2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseSTUN(b)
		if err != nil {
			return
		}
		// None of it may panic; what a stranger made may not be authentic.
		checkUsername(m)
		mappedAddress(m)
		answerBinding(b, from)
		// What the password covers has not changed; the type and the length
		// before it are covered, but say more attributes may follow.
		if covered := check[4 : len(check)-8]; authentic(m, who.password) &&
			!bytes.HasPrefix(b[4:], covered) {
			t.Fatalf("authentic: %x", b)
		}
	})
}

func TestKeyText(t *testing.T) {
	id, err := IdentityFromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	key := id.Key()
	// RFC 8032 key of the all-zero seed
	const want = "hnvcppgow2sc2yvdvdicu3ynonsteflxdxrehjr2ybekdc2z3iuq"
	if key.String() != want {
		t.Errorf("key %v, want %v", key, want)
	}
	if got, err := ParseKey(want); got != key || err != nil {
		t.Errorf("parsed %v, %v", got, err)
	}
	for _, bad := range []string{"", want[1:], want + "a", strings.ToUpper(want),
		want[:51] + "r", want[:26] + "\n" + want[26:], want[:51] + "1"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	if _, err := IdentityFromSeed(make([]byte, 31)); err == nil {
		t.Error("accepted a short seed")
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key{}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil && k.String() != s {
			t.Fatalf("%q came back as %q", s, k)
		}
	})
}
