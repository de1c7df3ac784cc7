package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"
)

// The sample is what two nodes might have recorded: web runs a shell that starts psql,
// curl and programs with four misfortunes: a connect that is refused, one that hangs, a
// name that takes 5 s, and a connection that the peer resets. db runs the servers. Its
// clock is 3 s ahead.
//
// TestSample holds testdata/web.jsonl and testdata/db.jsonl to it.

const dbAhead = 3 * time.Second

var (
	sampleStart = time.Date(2026, 11, 24, 13, 43, 59, 123456789, time.UTC)
	webAddr     = netip.MustParseAddr("10.111.0.2")
	dbAddr      = netip.MustParseAddr("10.111.0.3")
	webAddr6    = netip.MustParseAddr("fd6f:626f:7865::2")
	dbAddr6     = netip.MustParseAddr("fd6f:626f:7865::3")
)

// story collects the events of both nodes.
type story struct{ web, db []Event }

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func at(ms float64) Base { return Base{Time: millis(ms)} }

// sample returns the events of web and of db.
func sample() (web, db []Event) {
	var s story
	header := Header{Boxer: "0.3", Networks: []netip.Prefix{netip.MustParsePrefix("10.111.0.0/16")}, Sets: []string{"network"}, Snap: 128}
	h := header
	h.Start, h.Node, h.NodeID, h.Addrs, h.Program = sampleStart, "web", 2,
		[]netip.Addr{webAddr, webAddr6}, "sh"
	h.ClockOffset, h.ClockError = 100*time.Microsecond, 250*time.Microsecond
	s.web = append(s.web, &h)
	d := header
	d.Start, d.Node, d.NodeID, d.Addrs, d.Program = sampleStart.Add(dbAhead-time.Second),
		"db", 3, []netip.Addr{dbAddr, dbAddr6}, "postgres"
	d.ClockOffset, d.ClockError = -dbAhead, 400*time.Microsecond
	s.db = append(s.db, &d)
	s.psql()
	s.curl()
	s.refused()
	s.slowName()
	s.reset()
	s.datagrams()
	s.hang()
	s.db = append(s.db, &End{Base: at(21900), Reason: "the program exited"})
	return s.web, s.db
}

// onDB is a time of db's trace: it began a second before web's.
func onDB(ms float64) Base { return Base{Time: millis(ms + 1000)} }

func message(kind string, body ...string) string {
	text := ""
	for _, b := range body {
		text += b
	}
	return kind + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)+4))) + text
}

// A dialogue is a TCP connection from web to db, and what is said on it.
type dialogue struct {
	begin        float64 // ms
	id           ConnID
	client, host Thread
	from, to     netip.AddrPort
	said         []string // by turns, the client first
	reset        bool     // instead of the server's last answer
}

func (s *story) dialogue(d dialogue) {
	c := Connection{ID: d.id, Role: RoleConnect, Proto: "tcp", Thread: d.client,
		Local: d.from, Remote: d.to, Peer: "db", Path: "punched",
		Stream: int64(d.id % 64 * 4)}
	a := Connection{ID: d.id, Role: RoleAccept, Proto: "tcp", Thread: d.host, Local: d.to,
		Remote: d.from, Peer: "web", Path: "punched", Stream: c.Stream}
	add := func(c Connection, state ConnState, b Base) *Connection {
		c.State, c.Base = state, b
		return &c
	}
	s.web = append(s.web, add(c, Connecting, at(d.begin)))
	c.Setup, a.Setup = millis(1.4), millis(0.2)
	s.db = append(s.db, add(a, Opened, onDB(d.begin+0.8)))
	s.db = append(s.db, &Call{Base: onDB(d.begin - 100), Duration: millis(100.9),
		Thread: d.host, Name: "accept4",
		Args: []string{"6", sockaddr(d.from), "[16]", "SOCK_CLOEXEC"}, FD: 6, Ret: 9,
		Served: Served{Peer: "web", Path: "punched", Conn: d.id,
			Inside: 60 * time.Microsecond}})
	s.web = append(s.web, add(c, Opened, at(d.begin+1.4)))
	s.web = append(s.web, &Call{Base: at(d.begin), Duration: millis(1.5),
		Thread: d.client, Name: "connect", Args: []string{"3", sockaddr(d.to), "16"}, FD: 3,
		Served: Served{Peer: "db", Path: "punched", Conn: d.id, Network: millis(1.3),
			Inside: 90 * time.Microsecond}})
	now := d.begin + 2
	for i, text := range d.said {
		sent, sentTo := &c, &a
		if i%2 == 1 {
			sent, sentTo = &a, &c
		}
		piece := Data{Conn: d.id, Length: len(text),
			Payload: []byte(text)[:min(len(text), 128)]}
		out, in := piece, piece
		out.Offset, in.Offset, in.Received = sent.Sent, sentTo.Received, true
		out.Base, in.Base = at(now), onDB(now+0.7)
		if i%2 == 0 {
			s.web, s.db = append(s.web, &out), append(s.db, &in)
		} else {
			out.Base, in.Base = onDB(now), at(now+0.7)
			s.db, s.web = append(s.db, &out), append(s.web, &in)
		}
		sent.Sent, sent.SegmentsSent = sent.Sent+uint64(len(text)), sent.SegmentsSent+1
		sentTo.Received, sentTo.SegmentsReceived = sentTo.Received+uint64(len(text)),
			sentTo.SegmentsReceived+1
		now += 1.1
	}
	c.Duration, a.Duration = millis(now-d.begin-0.7), millis(now-d.begin-0.8)
	c.RTT, a.RTT = millis(1.3), millis(1.3)
	c.Reason, a.Reason, a.ByPeer = "closed", "closed by peer", true
	if d.reset {
		c.Errno, c.Reason, c.ByPeer = "ECONNRESET", "reset by db (10.111.0.3:6379)", true
		a.Errno, a.Reason, a.ByPeer = "ECONNRESET", "reset by this node's program", false
	}
	s.db = append(s.db, add(a, Closed, onDB(now)))
	s.web = append(s.web, add(c, Closed, at(now+0.7)))
}

func sockaddr(a netip.AddrPort) string {
	if a.Addr().Is6() {
		return `{sa_family=AF_INET6, sin6_port=htons(` + port(a) + `), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "` + a.Addr().String() + `", &sin6_addr), sin6_scope_id=0}`
	}
	return `{sa_family=AF_INET, sin_port=htons(` + port(a) + `), sin_addr=inet_addr("` + a.Addr().String() + `")}`
}

func port(a netip.AddrPort) string {
	_, p, _ := bytes.Cut([]byte(a.String()[1:]), []byte("]:"))
	if p == nil {
		p = []byte(a.String()[len(a.Addr().String())+1:])
	}
	return string(p)
}

func (s *story) start(ms float64, t Thread, exe string) {
	s.web = append(s.web, &Process{Base: at(ms), Thread: t, What: "start", Parent: 4710},
		&Process{Base: at(ms + 0.3), Thread: t, What: "exec", Exe: exe})
}

func (s *story) exit(ms float64, t Thread, status string) {
	s.web = append(s.web, &Process{Base: at(ms), Thread: t, What: "exit", Status: status})
}

func (s *story) lookUp(ms float64, t Thread, name string, a netip.Addr) {
	s.web = append(s.web, &DNS{Base: at(ms), Duration: millis(0.2), Thread: t,
		Query: name, QType: "A", Answers: []string{a.String()}, RCode: "NOERROR",
		Server: "boxer"})
}

func (s *story) psql() {
	t := Thread{PID: 4711, TID: 4711, Comm: "psql"}
	s.start(10, t, "psql")
	s.web = append(s.web, &Call{Base: at(15), Duration: millis(0.02), Thread: t,
		Name: "socket", Args: []string{"AF_INET", "SOCK_STREAM", "IPPROTO_IP"}, FD: NoFD, Ret: 3})
	s.lookUp(16, t, "db", dbAddr)
	startup := "\x00\x03\x00\x00user\x00postgres\x00database\x00shop\x00\x00"
	s.dialogue(dialogue{
		begin: 20, id: 0x3f2a91c001, client: t,
		host: Thread{PID: 812, TID: 812, Comm: "postgres"},
		from: netip.AddrPortFrom(webAddr, 40110), to: netip.AddrPortFrom(dbAddr, 5432),
		said: []string{
			message("", startup),
			message("R", "\x00\x00\x00\x00") + message("S",
				"server_version\x0015.9\x00") + message("Z", "I"),
			message("Q", "SELECT name FROM customers WHERE id = 7\x00"),
			message("T", "\x00\x01name\x00",
				"\x00\x00\x40\x00\x00\x02\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00") +
				message("D", "\x00\x01\x00\x00\x00\x05Agnes") + message("C",
				"SELECT 1\x00") + message("Z", "I"),
			message("X"),
		},
	})
	s.exit(30, t, "0")
}

func (s *story) curl() {
	t := Thread{PID: 4712, TID: 4712, Comm: "curl"}
	s.start(100, t, "curl")
	body := "<html>" + string(bytes.Repeat([]byte("<p>hello</p>"), 400)) + "</html>"
	s.dialogue(dialogue{
		begin: 110, id: 0x3f2a91c002, client: t,
		host: Thread{PID: 820, TID: 821, Comm: "python3"},
		from: netip.AddrPortFrom(webAddr6, 40112), to: netip.AddrPortFrom(dbAddr6, 80),
		said: []string{
			"GET /shop HTTP/1.1\r\nHost: db\r\nAccept: */*\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4813\r\n\r\n" + body,
		},
	})
	s.exit(140, t, "0")
}

func (s *story) refused() {
	t := Thread{PID: 4713, TID: 4713, Comm: "nc"}
	to, where := netip.AddrPortFrom(dbAddr, 5433), "refused by db (10.111.0.3:5433)"
	s.start(1000, t, "nc")
	c := Connection{Base: at(1010), State: Connecting, ID: 0x3f2a91c003,
		Role: RoleConnect, Proto: "tcp", Thread: t,
		Local: netip.AddrPortFrom(webAddr, 40114), Remote: to, Peer: "db",
		Path: "punched"}
	failed := c
	failed.Base, failed.State, failed.Setup, failed.Errno, failed.Reason = at(1011.6),
		Failed, millis(1.6), "ECONNREFUSED", where
	s.web = append(s.web, &c, &failed, &Call{Base: at(1010), Duration: millis(1.7),
		Thread: t, Name: "connect", Args: []string{"3", sockaddr(to), "16"}, FD: 3,
		Ret: -1, Errno: "ECONNREFUSED", Served: Served{Peer: "db", Path: "punched",
			Conn: c.ID, Network: millis(1.5), Inside: 80 * time.Microsecond,
			Failure: where}})
	s.exit(1015, t, "1")
}

func (s *story) slowName() {
	t := Thread{PID: 4714, TID: 4714, Comm: "wget"}
	s.start(1100, t, "wget")
	s.web = append(s.web, &DNS{Base: at(1110), Duration: millis(5003), Thread: t,
		Query: "slow.example.com", QType: "A", Answers: []string{"192.0.2.80"},
		RCode: "NOERROR", Server: "192.0.2.54:53",
		Failure: "192.0.2.53:53 did not answer within 5s"})
	s.exit(6120, t, "4")
}

func (s *story) reset() {
	t := Thread{PID: 4715, TID: 4715, Comm: "redis-cli"}
	s.start(6200, t, "redis-cli")
	s.dialogue(dialogue{
		begin: 6210, id: 0x3f2a91c004, client: t,
		host: Thread{PID: 830, TID: 830, Comm: "redis-server"},
		from: netip.AddrPortFrom(webAddr, 40116), to: netip.AddrPortFrom(dbAddr, 6379),
		said: []string{"*1\r\n$4\r\nPING\r\n", "+PONG\r\n",
			"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"}, reset: true,
	})
	s.exit(6230, t, "1")
}

func (s *story) datagrams() {
	t := Thread{PID: 4716, TID: 4716, Comm: "chrony"}
	c := Connection{Base: at(6300), State: Opened, ID: 0x3f2a91c005, Role: RoleConnect,
		Proto: "udp", Thread: t,
		Local:  netip.AddrPortFrom(webAddr, 40118),
		Remote: netip.AddrPortFrom(dbAddr, 9123), Peer: "db", Path: "punched"}
	closed := c
	closed.Base, closed.State, closed.Duration, closed.Reason = at(6400), Closed,
		millis(100), "idle"
	closed.Sent, closed.Received, closed.SegmentsSent, closed.SegmentsReceived = 4, 9, 1, 1
	s.web = append(s.web, &c,
		&Data{Base: at(6301), Conn: c.ID, Length: 4, Payload: []byte("time")},
		&Data{Base: at(6303), Conn: c.ID, Received: true, Length: 9,
			Payload: []byte("13:44:05\n")},
		&closed)
}

func (s *story) hang() {
	t := Thread{PID: 4717, TID: 4718, Comm: "java"}
	to, where := netip.MustParseAddrPort("10.111.0.9:8080"),
		"no answer from node ghost (10.111.0.9:8080) for 13s"
	s.start(7000, t, "java")
	c := Connection{Base: at(7010), State: Connecting, ID: 0x3f2a91c006,
		Role: RoleConnect, Proto: "tcp", Thread: t,
		Local: netip.AddrPortFrom(webAddr, 40120), Remote: to, Peer: "ghost"}
	call := Call{Base: at(7010), Thread: t, Name: "connect",
		Args: []string{"12", sockaddr(to), "16"}, FD: 12, Phase: Enter,
		Served: Served{Peer: "ghost", Conn: c.ID}}
	lost := call
	lost.Phase, lost.Duration, lost.Failure, lost.Network = Lost, millis(13000), where,
		millis(12990)
	s.web = append(s.web, &c, &call,
		&Call{Base: at(8000), Thread: Thread{PID: 4717, TID: 4717, Comm: "java"}, Name: "openat", FD: NoFD, Args: []string{"AT_FDCWD", `"/etc/hosts"`, "O_RDONLY"}, Phase: Watched},
		&Dropped{Base: at(15000), Count: 3},
		&Clock{Base: at(16000), ClockOffset: 110 * time.Microsecond,
			ClockError: 200 * time.Microsecond},
		&lost)
	s.exit(20010, Thread{PID: 4717, TID: 4717, Comm: "java"}, "SIGTERM")
	s.web = append(s.web, &End{Base: at(20011), Reason: "the program was ended by SIGTERM"})
}

// TestSample holds the files to the events.
func TestSample(t *testing.T) {
	web, db := sample()
	golden(t, "web.jsonl", write(t, "json", Options{}, web...))
	golden(t, "db.jsonl", write(t, "json", Options{}, db...))
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = "testdata/" + name
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		wrong := 0
		for wrong < min(len(got), len(want)) && got[wrong] == want[wrong] {
			wrong++
		}
		t.Errorf("%s is not what was written (see it with git diff after go test -update); from byte %d on it has\n%.200s\nand now it is\n%.200s",
			name, wrong, want[wrong:], got[wrong:])
	}
}

// readAll reads a trace of testdata.
func readAll(t testing.TB, name string) []Event {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []Event
	for r := NewReader(f); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}
