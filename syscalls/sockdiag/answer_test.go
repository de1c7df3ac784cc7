package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A row is a socket of a fake kernel, and what programs know of it.
type row struct {
	protocol, family, state uint8
	local, remote           string // as the kernel knows them
	seen, far               string // as programs do; "": not at all
	inode                   uint32
}

var rows = []row{
	{unix.IPPROTO_TCP, unix.AF_INET, 10, "127.64.0.0:80", "0.0.0.0:0", "0.0.0.0:80",
		"0.0.0.0:0", 11},
	{unix.IPPROTO_TCP, unix.AF_INET, 1, "127.64.0.1:4000", "127.64.0.2:80",
		"10.111.0.2:4000", "10.111.0.3:80", 12},
	{unix.IPPROTO_TCP, unix.AF_INET, 1, "127.64.0.2:80", "127.64.0.1:4000", "", "", 13},
	{unix.IPPROTO_TCP, unix.AF_INET6, 10, "[::ffff:127.64.0.5]:443", "[::]:0", "[::]:443",
		"[::]:0", 14},
	{unix.IPPROTO_UDP, unix.AF_INET, 7, "127.64.0.0:53", "0.0.0.0:0", "0.0.0.0:53",
		"0.0.0.0:0", 15},
}

// message encodes a row as the kernel does, with an attribute after it.
func (r row) message(seq uint32) []byte {
	b := make([]byte, sizeofMsg+8)
	binary.NativeEndian.PutUint32(b, sizeofMsg+5)
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_MULTI)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[12:], 999)
	b[msgFamily], b[msgState] = r.family, r.state
	putAddr(b, r.family, msgSource, msgSport, netip.MustParseAddrPort(r.local))
	putAddr(b, r.family, msgDest, msgDport, netip.MustParseAddrPort(r.remote))
	binary.NativeEndian.PutUint32(b[msgInode:], r.inode)
	binary.NativeEndian.PutUint16(b[sizeofMsg:], 5)
	binary.NativeEndian.PutUint16(b[sizeofMsg+2:], attrV6Only)
	return b
}

// fakeKernel answers dumps from rows.
func fakeKernel(request []byte) ([]byte, error) {
	m, _, ok := next(request)
	if !ok || len(m.bytes) < sizeofReq {
		return nil, unix.EINVAL
	}
	if m.bytes[reqFamily] == unix.AF_UNIX {
		return row{family: unix.AF_UNIX, local: "0.0.0.0:0", remote: "0.0.0.0:0",
			inode: 16}.message(m.seq), nil
	}
	if m.flags&unix.NLM_F_DUMP == 0 {
		return nil, errors.New("a question about one socket reaches the kernel")
	}
	var b []byte
	for _, r := range rows {
		if r.family == m.bytes[reqFamily] && r.protocol == m.bytes[reqProtocol] &&
			binary.NativeEndian.Uint32(m.bytes[reqStates:])>>r.state&1 != 0 {
			b = append(b, r.message(m.seq)...)
		}
	}
	return b, nil
}

func fakeView(s Socket) (Socket, bool) {
	for _, r := range rows {
		if r.inode == s.Inode {
			if r.seen == "" {
				return s, false
			}
			s.Local, s.Remote = netip.MustParseAddrPort(r.seen), netip.MustParseAddrPort(r.far)
			return s, true
		}
	}
	return s, true
}

// request encodes a question.
func request(kind, flags uint16, family, protocol uint8, states uint32, local,
	remote string, attributes ...byte) []byte {
	b := make([]byte, sizeofReq)
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], 7)
	b[reqFamily], b[reqProtocol] = family, protocol
	binary.NativeEndian.PutUint32(b[reqStates:], states)
	if local != "" {
		putAddr(b, family, reqSource, reqSport, netip.MustParseAddrPort(local))
		putAddr(b, family, reqDest, reqDport, netip.MustParseAddrPort(remote))
	}
	b = append(b, attributes...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// bytecode returns the attribute with the filter "sport = :port".
func bytecode(port uint16) []byte {
	b := make([]byte, 12)
	binary.NativeEndian.PutUint16(b, 12)
	binary.NativeEndian.PutUint16(b[2:], attrBytecode)
	b[4], b[5] = opSportEQ, 8
	binary.NativeEndian.PutUint16(b[6:], 12)
	binary.NativeEndian.PutUint16(b[10:], port)
	return b
}

func TestAnswer(t *testing.T) {
	const all = ^uint32(0)
	for _, tc := range []struct {
		name    string
		request []byte
		want    []string // of a socket its addresses; of others what it is
	}{
		{"TCP", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET, unix.IPPROTO_TCP,
			all, "", ""),
			[]string{"0.0.0.0:80 0.0.0.0:0", "10.111.0.2:4000 10.111.0.3:80", "done"}},
		{"listeners", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET,
			unix.IPPROTO_TCP, 1<<10, "", ""), []string{"0.0.0.0:80 0.0.0.0:0", "done"}},
		{"IPv6", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET6, unix.IPPROTO_TCP,
			all, "", ""), []string{"[::]:443 [::]:0", "done"}},
		{"UDP", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET, unix.IPPROTO_UDP,
			all, "", ""), []string{"0.0.0.0:53 0.0.0.0:0", "done"}},
		{"filter", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET,
			unix.IPPROTO_TCP, all, "", "", bytecode(4000)...),
			[]string{"10.111.0.2:4000 10.111.0.3:80", "done"}},
		{"one", request(sockDiagByFamily, 0, unix.AF_INET, unix.IPPROTO_TCP, all,
			"10.111.0.2:4000", "10.111.0.3:80"), []string{"10.111.0.2:4000 10.111.0.3:80"}},
		{"the listener of one", request(sockDiagByFamily, 0, unix.AF_INET, unix.IPPROTO_TCP,
			all, "10.111.0.2:80", "10.111.0.9:4711"), []string{"0.0.0.0:80 0.0.0.0:0"}},
		{"one by the kernel's addresses", request(sockDiagByFamily, 0, unix.AF_INET,
			unix.IPPROTO_TCP, all, "127.64.0.2:80", "127.64.0.1:4001"),
			[]string{"0.0.0.0:80 0.0.0.0:0"}},
		{"one that is not there", request(sockDiagByFamily, 0, unix.AF_INET,
			unix.IPPROTO_TCP, all, "10.111.0.2:4001", "10.111.0.3:81"),
			[]string{"no such file or directory"}},
		{"Unix sockets", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_UNIX, 0, all,
			"", ""), []string{"another", "done"}},
		{"close one", request(21, 0, unix.AF_INET, unix.IPPROTO_TCP, all, "10.111.0.2:4000",
			"10.111.0.3:80"), []string{"operation not supported"}},
		{"acknowledged", request(sockDiagByFamily, unix.NLM_F_ACK, unix.AF_INET,
			unix.IPPROTO_TCP, all, "10.111.0.2:4000", "10.111.0.3:80"),
			[]string{"10.111.0.2:4000 10.111.0.3:80", unix.Errno(0).Error()}},
		{"cut short", request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET,
			unix.IPPROTO_TCP, all, "", "")[:40], nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := describe(t, Answer(tc.request, 4711, fakeKernel, fakeView))
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// describe reads datagrams, whose messages have the program's port and sequence number.
func describe(t *testing.T, datagrams [][]byte) (all []string) {
	t.Helper()
	for _, b := range datagrams {
		for len(b) > 0 {
			m, rest, ok := next(b)
			if !ok {
				t.Fatalf("malformed: % x", b)
			}
			b = rest
			if port := binary.NativeEndian.Uint32(m.bytes[12:]); port != 4711 || m.seq != 7 {
				t.Errorf("port %d, sequence number %d; want 4711 and 7", port, m.seq)
			}
			s, ok := parseSocket(m, unix.IPPROTO_TCP)
			switch {
			case ok:
				all = append(all, s.Local.String()+" "+s.Remote.String())
			case m.kind == unix.NLMSG_DONE:
				all = append(all, "done")
			case m.kind == unix.NLMSG_ERROR:
				errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.body())))
				all = append(all, errno.Error())
			default:
				all = append(all, "another")
			}
		}
	}
	return all
}

// A long answer is in several datagrams, and complete.
func TestAnswerIsSplit(t *testing.T) {
	const sockets = 1000
	kernel := func(request []byte) (b []byte, err error) {
		for range sockets {
			b = append(b, rows[0].message(7)...)
		}
		return b, nil
	}
	datagrams := Answer(request(sockDiagByFamily, unix.NLM_F_DUMP, unix.AF_INET,
		unix.IPPROTO_TCP, 1, "", ""), 4711, kernel, fakeView)
	for _, d := range datagrams {
		if len(d) > maxDatagram {
			t.Errorf("a datagram of %d bytes", len(d))
		}
	}
	if got := len(describe(t, datagrams)); got != sockets+1 || len(datagrams) < 2 {
		t.Errorf("%d messages in %d datagrams", got, len(datagrams))
	}
}

func FuzzAnswer(f *testing.F) {
	for _, r := range rows {
		f.Add(request(sockDiagByFamily, unix.NLM_F_DUMP, r.family, r.protocol, ^uint32(0),
			r.seen, r.far, bytecode(80)...), r.message(7))
	}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		kernel := func([]byte) ([]byte, error) { return answer, nil }
		Answer(request, 1, kernel, fakeView)
	})
}
