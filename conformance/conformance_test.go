package conformance

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// Each program has its own ports, so that none is in TIME-WAIT from another's end. They
// are below those that the kernel chooses (ip_local_port_range, ip(7)): a client's port
// could be taken for a server's.
const (
	firstPort    = 7000
	portsProgram = 250
	portsCase    = 10 // as in conformance.h
	chosenPorts  = 32768
)

// A variant runs a program once more, in another way. The known differences are the same.
type variant struct {
	name    string
	program string
	flags   []string // of the compiler
	under   []string // see start
	oneHost bool
	direct  bool   // where the owner of the network allows direct connections
	needs   string // a command that not every machine has
	only    string // the architecture that has it; empty: all

	interposer string // of boxer run; empty: as in the environment, or auto
}

// thirtyTwo are the flags of 32-bit programs. The directory is for Debian's
// gcc-12-multilib without gcc-multilib, which no machine can have together with a cross
// compiler.
var thirtyTwo = []string{"-m32", "-I/usr/include/x86_64-linux-gnu"}

var variants = []variant{
	{name: "static", program: "descriptors", flags: []string{"-static"}},
	{name: "32-bit descriptors", program: "descriptors", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit udp", program: "udp", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit connect", program: "connect", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit messages", program: "messages", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit stream", program: "stream", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit wild", program: "wild", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit interfaces", program: "interfaces", flags: thirtyTwo, only: "amd64"},
	{name: "32-bit lists", program: "lists", flags: thirtyTwo, only: "amd64"},
	{name: "strace", program: "descriptors",
		under: []string{"strace", "-f", "-o", "/dev/null"}, needs: "strace"},
	{name: "32-bit numbers", program: "numbers", flags: thirtyTwo, only: "amd64"},
	{name: "descriptors on one host", program: "descriptors", oneHost: true},
	{name: "udp on one host", program: "udp", oneHost: true},
	{name: "messages on one host", program: "messages", oneHost: true},
	{name: "ping on one host", program: "ping", oneHost: true},
	{name: "bind on one host", program: "bind", oneHost: true},
	{name: "ipv6 on one host", program: "ipv6", oneHost: true},
	{name: "connect on one host", program: "connect", oneHost: true},
	{name: "pending on one host", program: "pending", oneHost: true},
	{name: "accept on one host", program: "accept", oneHost: true},
	{name: "stream on one host", program: "stream", oneHost: true},
	{name: "oneport on one host", program: "oneport", oneHost: true},
	{name: "fastopen on one host", program: "fastopen", oneHost: true},
	{name: "lists on one host", program: "lists", oneHost: true},
	{name: "accept direct", program: "accept", direct: true},
	{name: "connect direct", program: "connect", direct: true},
	{name: "descriptors direct", program: "descriptors", direct: true},
	{name: "epoll direct", program: "epoll", direct: true},
	{name: "fastopen direct", program: "fastopen", direct: true},
	{name: "ipv6 direct", program: "ipv6", direct: true},
	{name: "oneport direct", program: "oneport", direct: true},
	{name: "stream direct", program: "stream", direct: true},
	{name: "accept direct, rewritten", program: "accept", direct: true,
		interposer: "rewrite"},
	{name: "stream direct, rewritten", program: "stream", direct: true,
		interposer: "rewrite"},
}

// compatProgram makes 32-bit calls, which only a filter traps.
const compatProgram = "compat"

// TestPrograms runs each program bare and under boxer, and compares. CASE=name in the
// environment runs the cases of that name only.
func TestPrograms(t *testing.T) {
	natlab.NeedCommands(t, "cc", "python3")
	sources, err := filepath.Glob("programs/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatal("no programs", err)
	}
	bare, boxed, direct := bareWorld(t), boxedWorld(t),
		boxedWorld(t, "--data-path", "direct")
	all := slices.Clone(variants)
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".c")
		all = append(all, variant{name: name, program: name})
		if name != compatProgram {
			all = append(all, variant{name: name + " rewritten", program: name,
				interposer: "rewrite"})
		}
	}
	if last := firstPort + len(all)*portsProgram; last > chosenPorts {
		t.Fatalf("%d programs have ports up to %d, which the kernel chooses", len(all), last)
	}
	for i, v := range all {
		t.Run(v.name, func(t *testing.T) {
			if _, err := exec.LookPath(v.needs); v.needs != "" && err != nil {
				t.Skip(err)
			}
			if v.only != "" && v.only != runtime.GOARCH {
				t.Skip("is for", v.only)
			}
			if v.needs32() && v.taken() == "rewrite" {
				t.Skip("32-bit programs do not start where programs are rewritten")
			}
			s := start{path: v.build(t), port: firstPort + i*portsProgram, under: v.under,
				interposer: v.interposer}
			if v.program == "activated" {
				s.before = []string{"/usr/bin/python3", "programs/activate.py"}
			}
			where := boxed
			if v.oneHost {
				where = boxed.oneHost()
			}
			if v.direct {
				where = direct
			}
			judge(t, v, bare, where, s)
		})
	}
}

// needs32 reports whether the program makes calls of the 32-bit ABI.
func (v variant) needs32() bool {
	return v.program == compatProgram || len(v.flags) > 0 && v.only == "amd64"
}

// hosts is how many hosts the two nodes have.
func (v variant) hosts() int {
	if v.oneHost {
		return 1
	}
	return 2
}

// taken returns which interposer takes the calls.
func (v variant) taken() string {
	for _, how := range []string{v.interposer, os.Getenv("BOXER_INTERPOSER")} {
		if how != "" && how != "auto" {
			return how
		}
	}
	return "seccomp" // tests run where filters work
}

// build compiles the variant's program and returns its path.
func (v variant) build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), v.program)
	args := append([]string{"-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path,
		"programs/" + v.program + ".c"}, v.flags...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return path
}

// judge plays a program in both worlds.
func judge(t *testing.T, v variant, bare, boxed *world, s start) {
	t.Helper()
	var linux, got map[string]map[string][]string
	var both sync.WaitGroup
	both.Go(func() { linux = bare.play(t, s) })
	both.Go(func() { got = boxed.play(t, s) })
	both.Wait()
	for _, side := range []string{"server", "client"} {
		for _, c := range slices.Sorted(maps.Keys(linux[side])) {
			label := v.program + "/" + c + "/" + side
			lines, missing := excuse(label, v.hosts(), v.taken(), got[side][c])
			if want := append(linux[side][c], ""); !slices.Equal(want, lines) {
				t.Errorf("%s: boxer (+) is not as Linux (-):\n%s", label,
					compare(want, lines))
			}
			for _, p := range missing {
				t.Errorf("%s: boxer does not print %q: take the known difference out of the table", label, p.Boxer)
			}
		}
	}
}

// TestTablesAreDocumented compares the tables with the documentation.
func TestTablesAreDocumented(t *testing.T) {
	const path = "../docs/conformance.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(b)
	for begin, table := range map[string]string{
		"<!-- known differences -->\n": Table(),
		"<!-- excused tests -->\n":     ExcusedTests(),
	} {
		const end = "<!-- end -->\n"
		head, rest, ok := strings.Cut(want, begin)
		_, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for the table %q", path, begin)
		}
		want = head + begin + table + end + tail
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(b) {
		t.Errorf("%s has other tables than the package: go test ./conformance -run TestTables -update", path)
	}
}
