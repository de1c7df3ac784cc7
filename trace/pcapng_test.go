package trace

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func TestPcapngGolden(t *testing.T) {
	golden(t, "web.pcapng", write(t, "pcapng", Options{}, readAll(t, "web.jsonl")...))
}

// capture is a pcapng file that tshark reads.
type capture struct {
	t    *testing.T
	file string
}

// captured writes events as pcapng for tshark.
func captured(t *testing.T, events ...Event) capture {
	t.Helper()
	if testing.Short() {
		t.Skip("starts tshark, which takes seconds")
	}
	natlab.NeedCommands(t, "tshark")
	file := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(file, []byte(write(t, "pcapng", Options{}, events...)),
		0o600); err != nil {
		t.Fatal(err)
	}
	return capture{t, file}
}

// tshark runs it and returns its lines.
func (c capture) tshark(args ...string) []string {
	c.t.Helper()
	cmd := exec.Command("tshark", append([]string{"-r", c.file, "-N", "n", "-o",
		"ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o",
		"udp.check_checksum:TRUE"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.t.TempDir(), "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("tshark %q: %v\n%s", args, err, &stderr)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

// fields returns fields of the packets that match a display filter, with "|" between.
func (c capture) fields(filter string, fields ...string) []string {
	c.t.Helper()
	args := []string{"-Y", filter, "-T", "fields", "-E", "separator=|", "-E",
		"occurrence=a"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	return c.tshark(args...)
}

func (c capture) want(filter, fields string, want ...string) {
	c.t.Helper()
	got := c.fields(filter, strings.Fields(fields)...)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		c.t.Errorf("%s of %s:\ngot  %q\nwant %q", fields, filter, got, want)
	}
}

// TestTsharkDecodes has tshark decode what the sample's programs said, and say of each
// misfortune which it was.
func TestTsharkDecodes(t *testing.T) {
	c := captured(t, readAll(t, "web.jsonl")...)
	c.want("pgsql.query", "ip.src_host ip.dst_host pgsql.query",
		"web|db|SELECT name FROM customers WHERE id = 7")
	c.want("pgsql.val.data", "pgsql.val.data", "41676e6573")
	c.want("http.request", "ipv6.src http.request.method http.request.uri",
		"fd6f:626f:7865::2|GET|/shop")
	c.want("http.response", "http.response.code frame.len frame.cap_len ipv6.plen",
		"200|4939|188|4899")
	c.want("resp", "tcp.len", "14", "7", "22")
	c.want("udp.port == 9123", "udp.srcport udp.length data.data frame.comment",
		"40118|12|74696d65|chrony (pid 4716) sent",
		"9123|17|31333a34343a30350a|chrony (pid 4716) received")
	c.want("_ws.malformed or ip.checksum.status == 0 or tcp.checksum.status == 0 or udp.checksum.status == 0", "frame.number", "")
	c.want("tcp.analysis.flags and not tcp.analysis.retransmission", "frame.number", "")
	c.want("frame.number == 3", "frame.interface_name frame.interface_description frame.time_epoch", "web|boxer node web running sh|1795527839.143456789")

	// Refused: SYN, RST. Reset: RST after data. Hang: SYNs at 0, 1, 3, 7 s, and nothing
	// else. Slow name: 5 s.
	c.want("tcp.port == 5433", "tcp.flags.str frame.packet_flags_direction",
		"··········S·|0x00000002", "·······A·R··|0x00000001")
	refused := c.fields("tcp.port == 5433 and tcp.flags.reset == 1", "frame.comment")
	if !strings.Contains(refused[0], "refused by db (10.111.0.3:5433)") ||
		!strings.Contains(refused[0], "nc (pid 4713") {
		t.Errorf("the RST of the refused connection says %q", refused)
	}
	c.want("tcp.port == 6379 and tcp.flags.reset == 1", "ip.src_host tcp.seq", "db|8")
	c.want("tcp.port == 8080 and not (tcp.flags.syn == 1 and tcp.flags.ack == 0)",
		"frame.number", "")
	c.want("tcp.port == 8080", "tcp.time_relative", "0.000000000", "1.000000000",
		"3.000000000", "7.000000000", "13.000000000")
	last := c.fields("tcp.port == 8080 and tcp.time_relative > 12", "frame.comment")
	if !strings.Contains(last[0], "no answer from node ghost") {
		t.Errorf("the last SYN says %q", last)
	}
	c.want(`dns.qry.name == "slow.example.com" and dns.flags.response == 1`, "dns.time dns.a", "5.003000000|192.0.2.80")
}

func TestTsharkFollows(t *testing.T) {
	c := captured(t, readAll(t, "web.jsonl")...)
	got := strings.Join(c.tshark("-q", "-z", "follow,tcp,ascii,3"), "\n")
	for _, want := range []string{"Node 0: 10.111.0.2:40116", "Node 1: 10.111.0.3:6379",
		"14\n*1\r\n$4\r\nPING\r\n", "\t7\n+PONG\r\n",
		"22\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"} {
		if !strings.Contains(strings.ReplaceAll(got, "\r", ""),
			strings.ReplaceAll(want, "\r", "")) {
			t.Errorf("followed the stream and found no %q in\n%s", want, got)
		}
	}
}

// TestPcapngStreams has connections of every kind, and looks at what Wireshark's analysis
// finds wrong.
func TestPcapngStreams(t *testing.T) {
	base := Connection{ID: 77, Role: RoleConnect, Proto: "tcp",
		Local:  netip.MustParseAddrPort("10.111.0.2:4000"),
		Remote: netip.MustParseAddrPort("10.111.0.3:5000"), Peer: "db"}
	conn := func(ms float64, state ConnState, change func(*Connection)) *Connection {
		c := base
		c.Base, c.State = at(ms), state
		if change != nil {
			change(&c)
		}
		return &c
	}
	totals := func(sent, received uint64) func(*Connection) {
		return func(c *Connection) {
			c.Sent, c.Received, c.Reason = sent, received,
				"closed"
		}
	}
	piece := func(ms float64, received bool, offset uint64, length, kept int) *Data {
		return &Data{Base: at(ms), Conn: base.ID, Received: received, Offset: offset,
			Length: length, Payload: bytes.Repeat([]byte("x"), kept)}
	}
	role6 := func(c *Connection) {
		c.Role, c.Setup = RoleAccept, time.Millisecond
		c.Local, c.Remote = netip.MustParseAddrPort("[fd00::3]:5000"),
			netip.MustParseAddrPort("[fd00::2]:4000")
	}
	for _, tc := range []struct {
		name   string
		events []Event
		want   []string // source port, flags, relative sequence number, length in full
		wrong  string   // what tshark's analysis says
	}{
		{name: "large pieces", events: []Event{conn(0, Connecting, nil),
			conn(1, Opened, nil), piece(2, false, 0, 130_000, 130_000),
			piece(3, true, 0, 10, 10), conn(4, Closed, totals(130_000, 10))},
			want: []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 A 1 60000",
				"4000 A 60001 60000", "4000 AP 120001 10000", "5000 AP 1 10",
				"4000 AF 130001 0", "5000 AF 11 0", "4000 A 130002 0"}},
		{name: "nothing kept", events: []Event{conn(1, Opened, nil),
			piece(2, false, 0, 500, 0), conn(4, Closed, totals(500, 0))},
			want: []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 AP 1 500",
				"4000 AF 501 0", "5000 AF 1 0", "4000 A 502 0"}},
		{name: "not recorded", events: []Event{conn(1, Opened, nil),
			conn(4, Closed, totals(500, 70_000))},
			want: []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 AP 1 500",
				"5000 AP 1 60000", "5000 AP 60001 10000", "4000 AF 501 0",
				"5000 AF 70001 0", "4000 A 502 0"}},
		{name: "events dropped", events: []Event{conn(1, Opened, nil), piece(2, false, 1000, 5, 5)},
			want:  []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 AP 1001 5"},
			wrong: "a gap"},
		{name: "the trace began later", events: []Event{conn(1, Progress,
			totals(500, 500)), piece(2, false, 500, 5, 5),
			conn(3, Closed, totals(505, 500))},
			want: []string{"4000 AP 1 5", "4000 AF 6 0", "5000 AF 1 0", "4000 A 7 0"}},
		{name: "accepted, IPv6", events: []Event{conn(1, Opened, role6),
			piece(2, true, 0, 5, 5), conn(3, Closed,
				func(c *Connection) { role6(c); c.Received, c.ByPeer = 5, true })},
			want: []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 AP 1 5",
				"4000 AF 6 0", "5000 AF 1 0", "4000 A 7 0"}},
		{name: "timed out", events: []Event{conn(0, Connecting, nil),
			conn(4000, Failed, func(c *Connection) {
				c.Errno, c.Setup = "ETIMEDOUT",
					4*time.Second
			})},
			want:  []string{"4000 S 0 0", "4000 S 0 0", "4000 S 0 0", "4000 S 0 0"},
			wrong: "again"},
		{name: "still waits", events: []Event{conn(0, Connecting, nil), &End{Base: at(1500)}},
			want: []string{"4000 S 0 0", "4000 S 0 0", "4000 S 0 0"}, wrong: "again"},
		{name: "told what it waits for",
			events: []Event{conn(0, Connecting, nil),
				conn(1200, Connecting, func(c *Connection) {
					c.Setup,
						c.Reason = 1200*time.Millisecond, "waits"
				}), conn(1500, Opened, nil)},
			want:  []string{"4000 S 0 0", "4000 S 0 0", "5000 AS 0 0", "4000 A 1 0"},
			wrong: "again"},
		{name: "closed before the first byte",
			events: []Event{conn(0, Closed, totals(0, 0))},
			want:   []string{"4000 AF 1 0", "5000 AF 1 0", "4000 A 2 0"}},
		{name: "the other node's view too", events: []Event{
			&Header{Base: Base{Source: 1}, Node: "web"},
			&Header{Base: Base{Source: 2}, Node: "db"},
			conn(0, Opened, func(c *Connection) {
				c.Source, c.Role, c.Peer, c.Setup = 2,
					RoleAccept, "web", time.Minute
			}),
			conn(1, Opened, nil),
			conn(3, Closed, totals(0, 0)),
			conn(4, Closed, func(c *Connection) { c.Source, c.Role = 2, RoleAccept })},
			want: []string{"4000 S 0 0", "5000 AS 0 0", "4000 A 1 0", "4000 AF 1 0",
				"5000 AF 1 0", "4000 A 2 0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := captured(t, append([]Event{&Header{Start: sampleStart}}, tc.events...)...)
			var got []string
			var wrong []string
			for _, line := range c.fields("frame", "tcp.srcport", "tcp.flags.str",
				"tcp.seq", "tcp.len", "tcp.checksum.status", "_ws.malformed",
				"tcp.analysis.flags", "tcp.analysis.lost_segment",
				"tcp.analysis.retransmission") {
				f := strings.Split(strings.ReplaceAll(line, "·", ""), "|")
				got = append(got, strings.Join(f[:4], " "))
				if f[4] == "0" || f[5] != "" {
					t.Errorf("a packet is malformed: %s", line)
				}
				switch {
				case f[7] != "":
					wrong = append(wrong, "a gap")
				case f[8] != "":
					wrong = append(wrong, "again")
				case f[6] != "":
					wrong = append(wrong, "something else")
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if strings.Join(slices.Compact(wrong), ",") != tc.wrong {
				t.Errorf("Wireshark's analysis says %q; want %q", wrong, tc.wrong)
			}
		})
	}
}

// TestPcapngUnreachable has the ICMP errors that stand for hosts and ports that are not
// there.
func TestPcapngUnreachable(t *testing.T) {
	for _, tc := range []struct {
		proto, from, to, errno string
		state                  ConnState
		want                   string
	}{
		{"tcp", "10.111.0.2:4000", "10.111.0.9:80", "EHOSTUNREACH", Failed,
			"3|1|||10.111.0.9,10.111.0.2"},
		{"udp", "10.111.0.2:4000", "10.111.0.3:99", "ECONNREFUSED", Closed,
			"3|3|||10.111.0.3,10.111.0.2"},
		{"tcp", "[fd00::2]:4000", "[fd00::9]:80", "EHOSTUNREACH", Failed, "||1|3|"},
		{"udp", "[fd00::2]:4000", "[fd00::3]:99", "ECONNREFUSED", Failed, "||1|4|"},
	} {
		c := captured(t, &Header{Start: sampleStart},
			&Connection{State: tc.state, ID: 1, Proto: tc.proto, Role: RoleConnect,
				Errno:  tc.errno,
				Local:  netip.MustParseAddrPort(tc.from),
				Remote: netip.MustParseAddrPort(tc.to)})
		c.want("icmp or icmpv6", "icmp.type icmp.code icmpv6.type icmpv6.code ip.src", tc.want)
		c.want("_ws.malformed or icmp.checksum.status == 0 or icmpv6.checksum.status == 0", "frame.number", "")
	}
}

// TestPcapngDNS has look-ups of all kinds.
func TestPcapngDNS(t *testing.T) {
	look := func(q DNS) *DNS { return &q }
	c := captured(t, &Header{Start: sampleStart},
		look(DNS{Query: "db", QType: "AAAA", Answers: []string{"fd00::3"},
			RCode: "NOERROR", Server: "boxer"}),
		look(DNS{Query: "www.example.com", QType: "A",
			Answers: []string{"a.example.com", "192.0.2.1"}, RCode: "NOERROR",
			Server: "192.0.2.53"}),
		look(DNS{Query: "3.0.111.10.in-addr.arpa", QType: "PTR", Answers: []string{"db"},
			RCode: "NOERROR", Server: "boxer"}),
		look(DNS{Query: "nowhere", QType: "A", RCode: "NXDOMAIN", Server: "[2001:db8::53]:53"}),
		look(DNS{Query: "silent", QType: "SVCB", Duration: 12 * time.Second}),
		look(DNS{Query: strings.Repeat("x", 300), QType: "A"}),
	)
	c.want("dns.flags.response == 1", "dns.qry.name dns.flags.rcode dns.a dns.aaaa dns.cname dns.ptr.domain_name",
		"db|0||fd00::3||", "www.example.com|0|192.0.2.1||a.example.com|",
		"3.0.111.10.in-addr.arpa|0||||db", "nowhere|3||||")
	c.want(`dns.qry.name == "silent"`, "frame.time_relative dns.flags.response", "0.000000000|0", "5.000000000|0", "10.000000000|0")
	c.want("_ws.malformed", "frame.number", "")
}
