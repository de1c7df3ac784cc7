package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse("test", text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCheck(t *testing.T) {
	p := mustParse(t, `
# comment
allow web to db:5432   # and its remark
allow tag:worker ops-* to tag:cache:6379,16379 dns:53/udp
allow ALL to metrics:9000-9100,*/udp
`)
	web, db := Subject{Name: "web"}, Subject{Name: "db"}
	worker := Subject{Name: "x", Tags: []string{"a", "worker"}}
	cache := Subject{Name: "c", Tags: []string{"cache"}}
	for _, tc := range []struct {
		from, to Subject
		proto    Proto
		port     uint16
		line     int // 0: denied
	}{
		{web, db, TCP, 5432, 3},
		{web, db, TCP, 5433, 0},
		{web, db, UDP, 5432, 0},
		{db, web, TCP, 5432, 0}, // the other direction
		{Subject{Name: "web2"}, db, TCP, 5432, 0},
		{Subject{Tags: []string{"web"}}, db, TCP, 5432, 0}, // a tag is no name
		{worker, cache, TCP, 16379, 4},
		{worker, Subject{Name: "cache"}, TCP, 6379, 0}, // nor a name a tag
		{Subject{Name: "ops-1"}, cache, TCP, 6379, 4},
		{Subject{Name: "ops"}, cache, TCP, 6379, 0},
		{worker, Subject{Name: "dns"}, UDP, 53, 4},
		{worker, Subject{Name: "dns"}, TCP, 53, 0},
		{Subject{}, Subject{Name: "metrics"}, TCP, 9000, 5},
		{Subject{}, Subject{Name: "metrics"}, TCP, 9100, 5},
		{Subject{}, Subject{Name: "metrics"}, TCP, 9101, 0},
		{Subject{}, Subject{Name: "metrics"}, UDP, 1, 5},
	} {
		line, ok := p.Check(tc.from, tc.to, tc.proto, tc.port)
		if line != tc.line || ok != (tc.line > 0) {
			t.Errorf("%v to %v, %v %d: line %d, %v; want line %d", tc.from, tc.to,
				tc.proto, tc.port, line, ok, tc.line)
		}
		if got := p.Ports(tc.from, tc.to).Has(tc.proto, tc.port); got != ok {
			t.Errorf("%v to %v, %v %d: Check says %v, Ports %v", tc.from, tc.to, tc.proto,
				tc.port, ok, got)
		}
	}
}

func TestExampleAllowsAll(t *testing.T) {
	p := mustParse(t, Example)
	if got := p.Ports(Subject{Name: "a"}, Subject{Name: "b"}); !got.All() {
		t.Errorf("the example allows %v", got)
	}
	var none Policy
	if got := none.Ports(Subject{Name: "a"}, Subject{Name: "a"}); !got.Empty() {
		t.Errorf("the empty policy allows %v", got)
	}
}

func TestClass(t *testing.T) {
	p := mustParse(t, "allow web to db:5432\nallow tag:a w* to db:1")
	class := func(name string, tags ...string) Class { return p.Class(Subject{name, tags}) }
	for _, tc := range []struct {
		a, b Class
		same bool
	}{
		{class("x"), class("y", "b"), true},
		{class("web"), class("worker"), false},
		{class("worker"), class("w"), true},
		{class("x", "a"), class("y", "b", "a"), true},
		{class("x", "a"), class("x"), false},
		{class("db"), class("x"), false},
	} {
		if (tc.a == tc.b) != tc.same {
			t.Errorf("classes %x and %x, want the same: %v", tc.a, tc.b, tc.same)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"deny all", `"deny" begins no rule; write allow`},
		{"allow", "the word to is missing"},
		{"allow web db:1", "the word to is missing"},
		{"allow to db:1", "no node before the word to"},
		{"allow web to", "no target after the word to"},
		{"allow web to db", `"db" has no ports; write db:PORTS, such as db:5432`},
		{"allow web to tag:db", `"tag:db" has no ports; write tag:db:PORTS`},
		{"allow web to db:", "a port is missing"},
		{"allow web to db:1,,2", "a port is missing"},
		{"allow web to db:0", "ports are numbers from 1 to 65535"},
		{"allow web to db:65536", "ports are numbers from 1 to 65535"},
		{"allow web to db:http", "ports are numbers from 1 to 65535"},
		{"allow web to db:9-2", "the range ends before it begins; write 2-9"},
		{"allow web to db:53/sctp", "the protocol is neither tcp nor udp"},
		{"allow w_b to db:1", `"w_b" does not name nodes; write a name`},
		{"allow * to db:1", "write all for every node"},
		{"allow tag: to db:1", "want 1 to 63 lower-case letters"},
		{"allow tag:A to db:1", "want 1 to 63 lower-case letters"},
		{"allow web\x00 to db:1", "a character that is not text"},
		{"allow " + strings.Repeat("x ", 3000), "the most is 4096; write several rules"},
	} {
		_, err := Parse("p.txt", "# one\n"+tc.line+"\nallow all\n")
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Line != 2 || e.File != "p.txt" || !strings.Contains(e.Text, tc.want) {
			t.Errorf("%.40q: %v, want line 2 and %q", tc.line, err, tc.want)
		}
	}
	// Every wrong line is reported, up to ten.
	_, err := Parse("p", strings.Repeat("deny all\n", 20))
	if n := strings.Count(err.Error(), "\n") + 1; n != maxErrors {
		t.Errorf("%d errors, want %d", n, maxErrors)
	}
	if _, err := Parse("p", strings.Repeat("x", MaxText+1)); err == nil {
		t.Error("a policy beyond MaxText was parsed")
	}
	if _, err := Parse("p", strings.Repeat("allow all\n", maxRules+1)); err == nil {
		t.Error("a policy beyond maxRules was parsed")
	}
}

func TestPorts(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"5432", "5432"},
		{"8080-8090,5432", "5432,8080-8090"},
		{"1-5,3-9,10", "1-10"},
		{"53/udp,53/tcp", "53,53/udp"},
		{"*/tcp,80", "*/tcp"},
		{"*/tcp,*/udp", "*"},
		{"65535,65534", "65534-65535"},
	} {
		p, err := ParsePorts(tc.text)
		if err != nil || p.String() != tc.want {
			t.Errorf("%q: %v, %v; want %s", tc.text, p, err, tc.want)
		}
		var back Ports
		if err := back.UnmarshalText([]byte(p.String())); err != nil || !back.Equal(p) {
			t.Errorf("%v: read again as %v, %v", p, back, err)
		}
	}
	var none Ports
	if err := none.UnmarshalText([]byte("none")); err != nil || !none.Empty() {
		t.Errorf("none: %v, %v", none, err)
	}
}

func TestParseSubject(t *testing.T) {
	s, err := ParseSubject("Web,tag:a,tag:b")
	if err != nil || s.Name != "web" || strings.Join(s.Tags, " ") != "a b" {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, wrong := range []string{"", "a,b", "tag:", "a b", "tag:X"} {
		if s, err := ParseSubject(wrong); err == nil {
			t.Errorf("%q: got %+v", wrong, s)
		}
	}
}

// A policy from anywhere is parsed or refused, and Check agrees with Ports and Class.
func FuzzParse(f *testing.F) {
	f.Add(Example, "a", "b", uint16(1))
	f.Add("allow web tag:x w-* to db:5432,53/udp,8-9 tag:y:*", "web", "db", uint16(5432))
	f.Add("allow all to x:*/udp\r\nallow q to", "tag:x,n", "tag:y", uint16(9))
	f.Fuzz(func(t *testing.T, text, from, to string, port uint16) {
		p, err := Parse("f", text)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") {
					t.Fatalf("error without a line: %q", line)
				}
			}
			return
		}
		a, errA := ParseSubject(from)
		b, errB := ParseSubject(to)
		if errA != nil || errB != nil {
			return
		}
		ports := p.Ports(a, b)
		for _, proto := range []Proto{TCP, UDP} {
			if _, ok := p.Check(a, b, proto, port); ok != ports.Has(proto, port) {
				t.Fatalf("%v to %v %v %d: Check says %v, Ports %v", a, b, proto, port, ok, ports)
			}
		}
		var back Ports
		if err := back.UnmarshalText([]byte(ports.String())); err != nil ||
			!back.Equal(ports) {
			t.Fatalf("%v is read again as %v, %v", ports, back, err)
		}
		if p.Class(a) == p.Class(b) && !p.Ports(a, a).Equal(p.Ports(b, b)) {
			t.Fatalf("%v and %v have one class and different ports", a, b)
		}
	})
}

// The ports of several targets together may be more than one target has, and a node reads
// what the coordinator writes.
func TestPortsOfManyTargets(t *testing.T) {
	var text strings.Builder
	for i := range 2 * maxRanges {
		fmt.Fprintf(&text, "allow web to db:%d\n", 2*i+1)
	}
	p, err := Parse("test", text.String())
	if err != nil {
		t.Fatal(err)
	}
	want := p.Ports(Subject{Name: "web"}, Subject{Name: "db"})
	b, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got Ports
	if err := got.UnmarshalText(b); err != nil || !got.Equal(want) ||
		len(got.ranges) != 2*maxRanges {
		t.Errorf("%d ranges come back as %d, %v", len(want.ranges), len(got.ranges), err)
	}
	if err := got.UnmarshalText([]byte("*,*")); err != nil || !got.All() {
		t.Errorf("got %v, %v", got, err)
	}
}
