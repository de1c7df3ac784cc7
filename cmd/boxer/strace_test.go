package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// resultless are the calls whose results only the kernel knows, since they depend
// on who makes them: boxer trace shows "?". Each is the beginning of a line.
var resultless = regexp.MustCompile(`^(` + strings.Join([]string{
	`socketpair\(`, `recvmmsg(_time64)?\(`,
	`(connect|bind)\(FD, (NULL|\{sa_family=AF_(UNIX|PACKET|NETLINK))`,
	`socket\(AF_(PACKET|NETLINK|INET6?), SOCK_(RAW|DGRAM)`,
	`setsockopt\(FD, SOL_SOCKET, (SO_MARK|SO_BINDTODEVICE|0x3e7)`,
	`setsockopt\(FD, SOL_TCP, TCP_CONGESTION`, `getsockopt\(FD, SOL_SOCKET, SO_PEERCRED`,
	`(sendmsg|recvmsg)\(FD, (PTR|\{.*msg_control=)`, // descriptors in messages
	`(send|recv|sendto|recvfrom|sendmsg|recvmsg|accept4?|listen)\(FD, .*/\* unix`,
}, `|`) + `)`)

// normal are what differs from run to run: pids, descriptors, pointers and ports.
var normal = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`^(\[pid +\d+\] |\d+ +)`), ""},
	{regexp.MustCompile(`^(accept4?|bind|connect|getpeername|getsockname|getsockopt|listen|recv|recvfrom|recvmmsg|recvmmsg_time64|recvmsg|send|sendmmsg|sendmsg|sendto|setsockopt|shutdown)\(\d+`), "$1(FD"},
	{regexp.MustCompile(`^((?:socket|accept4?)\(.*\)) += \d+$`), "$1 = FD"},
	{regexp.MustCompile(`cmsg_data=\[[\d, ]+\]`), "cmsg_data=[FDs]"},
	{regexp.MustCompile(`0x[0-9a-f]{8,}`), "PTR"},
	{regexp.MustCompile(`htons\(\d{4,5}\)`), "htons(PORT)"},
	{regexp.MustCompile(`sa_data="(\\.|[^\\"])+"\}`), "sa_data=PORT}"},
	{regexp.MustCompile(`nl_pid=\d+`), "nl_pid=PID"},
	{regexp.MustCompile(`SOL_TCP, TCP_INFO, ".*"\.\.\.`), "SOL_TCP, TCP_INFO, INFO"},
	{regexp.MustCompile(` += `), " = "},
}

// calls returns the calls of a trace in text, made comparable, those that wait in one
// piece.
func calls(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(map[string]string)
	pid := regexp.MustCompile(`^(?:\[pid +)?(\d+)`)
	resumed := regexp.MustCompile(`^.*<\.\.\. \w+ resumed>(?:, )?`)
	var list []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		who := ""
		if m := pid.FindStringSubmatch(line); m != nil {
			who = m[1]
		}
		switch {
		case strings.HasSuffix(line, "bit mode. ]"): // strace's word for the ABI
			continue
		case strings.Contains(line, "+++ ") || strings.Contains(line, "--- SIG"),
			line == "":
			continue
		case strings.HasSuffix(line, " <unfinished ...>"):
			begun[who] = strings.TrimSuffix(line, " <unfinished ...>")
			continue
		case resumed.MatchString(line):
			rest := resumed.ReplaceAllString(line, "")
			if first := begun[who]; !strings.HasPrefix(rest, ")") &&
				!strings.HasSuffix(first, "(") && !strings.HasSuffix(first, ", ") {
				rest = ", " + rest
			}
			line = begun[who] + rest
		}
		for _, n := range normal {
			line = n.from.ReplaceAllString(line, n.to)
		}
		list = append(list, line)
	}
	return list
}

// sameCalls compares boxer's trace of a program with strace's.
func sameCalls(t *testing.T, mine, theirs []string) {
	t.Helper()
	unknown := 0
	for i := range max(len(mine), len(theirs)) {
		var a, b string
		if i < len(mine) {
			a = mine[i]
		}
		if i < len(theirs) {
			b = theirs[i]
		}
		if a == b {
			continue
		}
		nameA, _, _ := strings.Cut(a, "(")
		nameB, _, _ := strings.Cut(b, "(")
		if strings.HasSuffix(a, " = ?") && nameA == nameB && resultless.MatchString(a) {
			unknown++
			continue
		}
		t.Errorf("call %d:\n boxer trace: %s\n      strace: %s", i, a, b)
	}
	t.Logf("%d calls, the result of %d is the kernel's alone", len(theirs), unknown)
}

// TestAsStrace has boxer trace and strace show the same programs.
func TestAsStrace(t *testing.T) {
	if path, err := exec.LookPath("strace"); err != nil || path == "" {
		t.Fatal("install strace (scripts/install-deps): ", err)
	}
	t.Setenv("GODEBUG", "multipathtcp=0") // boxer has none
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil // the same answer to both
		fmt.Fprintln(w, "hello")
	}))
	defer web.Close()
	dir := t.TempDir()
	network := filepath.Join(dir, "network")
	network32 := filepath.Join(dir, "network32")
	// Debian's gcc-12-multilib without gcc-multilib lacks a link to that directory.
	thirtyTwo := []string{"-m32", "-I/usr/include/x86_64-linux-gnu"}
	if runtime.GOARCH == "arm64" {
		thirtyTwo = nil
	}
	for source, build := range map[string][]string{
		"C": {"gcc", "-w", "-o", network, "testdata/network.c"},
		"32-bit C": append([]string{"gcc", "-w", "-o", network32, "testdata/network.c"},
			thirtyTwo...),
		"Go": {"go", "build", "-o", filepath.Join(dir, "dial"), "testdata/dial.go"},
	} {
		if out, err := exec.Command(build[0], build[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("build the %s program: %v: %s", source, err, out)
		}
	}
	for _, tc := range []struct {
		name     string
		argv     []string
		anyOrder bool // its threads take turns as they like
	}{
		{name: "C", argv: []string{network}},
		{name: "32-bit C", argv: []string{network32}},
		{name: "python", argv: []string{"python3", "testdata/talk.py"}},
		{name: "curl", argv: []string{"curl", "-sS", "-o", "/dev/null", web.URL},
			anyOrder: true},
		{name: "Go", argv: []string{filepath.Join(dir, "dial")}, anyOrder: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mine, theirs := filepath.Join(t.TempDir(), "boxer"),
				filepath.Join(t.TempDir(), "strace")
			tool := exec.Command("strace",
				append([]string{"-f", "-s", "64", "-e", "trace=network", "-o", theirs},
					tc.argv...)...)
			if r := finish(t, tool); r.status != 0 {
				t.Fatalf("strace: status %d: %s", r.status, r.err)
			}
			trace := exec.Command(boxer,
				append([]string{"trace", "--no-comments", "--format", "text", "-s", "64",
					"-o", mine, "--"}, tc.argv...)...)
			if r := finish(t, trace); r.status != 0 {
				t.Fatalf("boxer trace: status %d: %s", r.status, r.err)
			}
			a, b := calls(t, mine), calls(t, theirs)
			if tc.anyOrder { // and try accept(2) more or less often
				slices.Sort(a)
				slices.Sort(b)
				tries := func(s string) bool {
					return strings.HasSuffix(s,
						"EAGAIN (Resource temporarily unavailable)")
				}
				a, b = slices.DeleteFunc(a, tries), slices.DeleteFunc(b, tries)
			}
			sameCalls(t, a, b)
		})
	}
}

// TestNoPayload: what is sent is a secret unless it is asked for.
func TestNoPayload(t *testing.T) {
	const secret = "correct horse battery staple"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	script := fmt.Sprintf("import socket; s=socket.create_connection(('127.0.0.1',%d)); s.sendall(b'%s')", l.Addr().(*net.TCPAddr).Port, secret)
	for _, format := range []string{"text", "json"} {
		out := filepath.Join(t.TempDir(), "trace")
		for _, tc := range []struct {
			bytes string
			shown bool
		}{{"0", false}, {"64", true}} {
			cmd := exec.Command(boxer, "trace", "--format", format, "-s", tc.bytes, "-o",
				out, "--", "python3", "-c", script)
			if r := finish(t, cmd); r.status != 0 {
				t.Fatalf("status %d: %s", r.status, r.err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(b), "horse"); got != tc.shown ||
				!strings.Contains(string(b), "sendto") {
				t.Errorf("%s, -s %s: the payload is shown: %v, want %v:\n%s", format,
					tc.bytes, got, tc.shown, b)
			}
		}
	}
}
