package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// someNews has every flag and every kind of update.
func someNews() []*updateBatch {
	db := memberRecord{id: 7, name: "db", key: transport.Key{1}, host: "h1",
		since: 1700000000123}
	mute := memberRecord{id: 300, key: transport.Key{2}, since: 1700000000123,
		unresponsive: true}
	away := mute
	away.presence = Presence{Unlisted: true, Asleep: true}
	early := memberRecord{id: 8, name: "web", key: transport.Key{3},
		since: time.Time{}.UnixMilli()}
	ports, err := policy.ParsePorts("5432,53/udp")
	if err != nil {
		panic(err)
	}
	return []*updateBatch{
		{seq: 4, updates: []update{{kind: kindUp, record: db},
			{kind: kindUnresponsive, record: mute},
			{kind: kindDown, record: memberRecord{id: 7}}, {kind: kindGraceEnded}}},
		{seq: math.MaxUint64, updates: []update{{kind: kindUp, record: early}}},
		{list: true, seq: 9, updates: []update{{kind: kindUp, record: db}}},
		{seq: 5, updates: []update{{kind: kindPresence, record: away}}},
		{list: true, last: true, inGrace: true, seq: 9,
			updates: []update{{kind: kindUnresponsive, record: mute}}},
		{list: true, last: true},
		{list: true, last: true, policy: true, seq: 3, updates: []update{
			{kind: kindAccess, record: memberRecord{id: 7}, access: ports},
			{kind: kindUp, record: db}}},
	}
}

func TestNewsComesBack(t *testing.T) {
	for i, n := range someNews() {
		whole := n.appendTo(nil)
		got, err := readMessage(bytes.NewReader(whole), maxFrame)
		if err != nil || !reflect.DeepEqual(got, &message{Updates: n}) {
			t.Errorf("%d: came back as %+v (%v), want %+v", i, got, err, n)
		}
	}
}

func TestDecodeNewsRefuses(t *testing.T) {
	up := func(id uint32, change func(*memberRecord)) string {
		c := memberRecord{id: id, name: "db", host: "h"}
		if change != nil {
			change(&c)
		}
		return string(appendUp(nil, c))
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, text := range map[string]string{
		"nothing behind the mark": "",
		"no number":               "\x00",
		"number without an end":   "\x00" + strings.Repeat("\xff", 11),
		"unknown flag":            "\x10\x00",
		"policy of no list":       "\x08\x00",
		"access of nobody":        "\x00\x01\x10\x00\x011",
		"access to no port":       "\x00\x01\x10\x07\x010",
		"last of no list":         "\x02\x00",
		"settling of no list":     "\x04\x00",
		"unknown kind":            "\x00\x01\x05",
		"kind 0":                  "\x00\x01\x00",
		"end without an id":       "\x00\x01\x03",
		"end of node 0":           "\x00\x01\x03\x00",
		"node 0":                  "\x00\x01" + up(0, nil),
		"id beyond all networks":  "\x00\x01" + up(maxNodes+1, nil),
		"list with an end":        "\x03\x01\x03\x07",
		"list with settled":       "\x03\x01\x04",
		"name that is no label": "\x00\x01" + up(7,
			func(c *memberRecord) { c.name = "a.b" }),
		"long name": "\x00\x01" + up(7,
			func(c *memberRecord) { c.name = long(maxLabel + 1) }),
		"host with a line break": "\x00\x01" + up(7,
			func(c *memberRecord) { c.host = "a\nb" }),
		"long host": "\x00\x01" + up(7,
			func(c *memberRecord) { c.host = long(maxHost + 1) }),
		"something behind": "\x00\x01" + up(7, nil) + "\x00",
		"too many":         "\x00\x01" + strings.Repeat("\x04", maxUpdates+1),
	} {
		if m, err := decodeMessage(append([]byte{batchMark}, text...)); !errors.Is(err,
			ErrProtocol) {
			t.Errorf("%s: got %+v, %v; want ErrProtocol", name, m, err)
		}
	}
	// Cut in the middle of an update it is refused, never read as a shorter one.
	head := []byte{batchMark, 0, 1}
	one := up(7, nil)
	for n := 1; n < len(one); n++ {
		if m, err := decodeMessage(append(head[:3:3], one[:n]...)); !errors.Is(err,
			ErrProtocol) {
			t.Errorf("%d of %d bytes: got %+v, %v; want ErrProtocol", n, len(one), m, err)
		}
	}
}

// The largest frames of news stay below what a receiver takes, and a list of more members
// than one of them holds comes in several.
func TestLargestNewsFits(t *testing.T) {
	p, err := newAddressPlan(DefaultPrefix, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := NewState()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newMembership(p, state, DefaultLease, quiet)
	if err != nil {
		t.Fatal(err)
	}
	const count = 2*maxUpdates + 1
	name, host := strings.Repeat("a", maxLabel), strings.Repeat("h", maxHost)
	for i := range uint32(count) {
		m := Member{ID: i + 1, Name: name, Host: host, Addr: r.plan.addr(i + 1),
			Key: transport.Key{byte(i), byte(i >> 8)}}
		r.byID[m.ID] = &entry{Member: m, encoded: appendUp(nil, recordOf(m))}
		r.views.all[""].journal.append(r.byID[m.ID].encoded)
	}

	s := &session{presences: true}
	s.view.Store(r.views.all[""])
	frames := r.appendList(nil, s)
	changes, _ := (&Server{members: r}).appendUpdates(&session{sentView: s.sentView, presences: true}, nil)
	if s.sentSeq != count {
		t.Errorf("the list is as of update %d, want %d", s.sentSeq, count)
	}
	for kind, b := range map[string][]byte{"list": frames, "changes": changes} {
		n, parts, in := 0, 0, bytes.NewReader(b)
		for in.Len() > 0 {
			m, err := readMessage(in, maxFrame)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			for _, u := range m.Updates.updates {
				if n++; !r.plan.member(u.record).same(r.byID[uint32(n)].Member) {
					t.Fatalf("%s: update %d is %+v", kind, n, u)
				}
			}
			if parts++; kind == "list" && m.Updates.last != (in.Len() == 0) ||
				kind == "changes" && m.Updates.seq != uint64(n) {
				t.Errorf("%s: part %d is %v, %v, %d", kind, parts, m.Updates.list,
					m.Updates.last, m.Updates.seq)
			}
		}
		if n != count || parts != 3 {
			t.Errorf("%s: %d members in %d parts", kind, n, parts)
		}
	}
}

// A client takes only what fits behind what it has.
func TestLearnRefuses(t *testing.T) {
	p, err := newAddressPlan(DefaultPrefix, DefaultPrefix6)
	if err != nil {
		t.Fatal(err)
	}
	dir := newDirectory(p)
	c := &Client{dir: dir, dispatcher: newDispatcher(1, dir)}
	n := &clientSession{clientConn: &clientConn{plan: p, seq: 4}}
	up := func(id uint32) []update {
		return []update{{kind: kindUp, record: memberRecord{id: id, name: "db",
			key: transport.Key{byte(id)}}}}
	}
	for name, w := range map[string]*updateBatch{
		"a gap":                {seq: 6, updates: up(2)},
		"again":                {seq: 4, updates: up(2)},
		"outside the network":  {seq: 5, updates: up(p.max + 1)},
		"a list outside of it": {list: true, last: true, seq: 9, updates: up(p.max + 1)},
	} {
		if err := c.applyBatch(n, w); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
	if len(dir.list()) != 0 || n.seq != 4 {
		t.Fatalf("the client has %+v as of update %d", dir.list(), n.seq)
	}
	if err := c.applyBatch(n, &updateBatch{seq: 5, updates: up(2)}); err != nil {
		t.Fatal(err)
	}
	m, ok := dir.addr(p.addr6(2))
	if !ok || m.ID != 2 || m.Addr != p.addr(2) || m.Addr6 != p.addr6(2) {
		t.Errorf("at %v is %+v", p.addr6(2), m)
	}
}

func TestJournal(t *testing.T) {
	j := newJournal()
	if _, n, _, ok := j.after(0); n != 0 || !ok {
		t.Errorf("empty: %d updates, %v", n, ok)
	}
	const count = 5*journalLength/2 + 7
	for i := range uint64(count) {
		j.append(fmt.Appendf(nil, "%d;", i+1))
	}
	kept := uint64(len(j.ends))
	if kept < journalLength || kept > 2*journalLength {
		t.Errorf("%d updates are kept", kept)
	}
	if _, _, _, ok := j.after(count - kept - 1); ok {
		t.Error("one more than are kept was given")
	}
	for _, behind := range []uint64{1, 2, maxUpdates, maxUpdates + 1, kept} {
		seq := count - behind
		var want []byte
		for i := range min(behind, maxUpdates) {
			want = fmt.Appendf(want, "%d;", seq+i+1)
		}
		got, n, _, ok := j.after(seq)
		if !ok || uint64(n) != min(behind, maxUpdates) || !bytes.Equal(got, want) {
			t.Errorf("%d behind: %d updates, %v", behind, n, ok)
		}
	}
	// Readers go on with what they were given, whatever is written behind it.
	got, _, _, _ := j.after(count - 1)
	_ = append(got, "overwritten"...)
	j.append([]byte("next;"))
	if next, _, _, _ := j.after(count); string(next) != "next;" ||
		string(got) != fmt.Sprintf("%d;", count) {
		t.Errorf("got %q, then %q", got, next)
	}
}

// BenchmarkLearn is a client's work for an update, of a thousand that came together.
func BenchmarkLearn(b *testing.B) {
	var updates []byte
	for id := range uint32(1000) {
		updates = appendUp(updates, memberRecord{id: id + 1,
			key: transport.Key{byte(id), byte(id >> 8)}, since: 1700000000123})
	}
	body := appendBatch(nil, 0, 1000, updates)[4:]
	p, err := newAddressPlan(DefaultPrefix, DefaultPrefix6)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n, err := decodeBatch(body)
		if err != nil {
			b.Fatal(err)
		}
		l := &clientConn{plan: p}
		if err := l.check(n); err != nil {
			b.Fatal(err)
		}
		newDirectory(p).apply(n.updates)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/update")
}
