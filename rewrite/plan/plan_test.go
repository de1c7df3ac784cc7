package plan

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// wantedAMD64 and wantedARM64 are like what boxer takes: sockets, programs, mappings.
func wantedAMD64(nr int) bool {
	return nr >= 41 && nr <= 55 || nr == 9 || nr == 59 || nr == 322 || nr == 89 ||
		nr == 267 || nr == 288 || nr == 63
}

func wantedARM64(nr int) bool {
	return nr >= 198 && nr <= 212 || nr == 222 || nr == 221 || nr == 281 || nr == 78
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// files are real ones, with what is certain of each: sites of network calls are
// rewritten, and none is impossible.
var files = []struct {
	path    string
	wanted  func(int) bool
	atLeast int // sites that are rewritten
}{
	{"/lib/x86_64-linux-gnu/libc.so.6", wantedAMD64, 60},
	{"/lib64/ld-linux-x86-64.so.2", wantedAMD64, 5},
	{"/usr/lib/x86_64-linux-musl/libc.so", wantedAMD64, 100},
	{"/bin/busybox", wantedAMD64, 10},
	{"/usr/bin/node", wantedAMD64, 0}, // Debian's has its calls in libraries
	{"/usr/aarch64-linux-gnu/lib/libc.so.6", wantedARM64, 60},
}

func TestFiles(t *testing.T) {
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(f.path))+"/"+filepath.Base(f.path),
			func(t *testing.T) {
				p, err := New(read(t, f.path), f.wanted)
				if err != nil {
					t.Fatal(err)
				}
				rewritten := 0
				for _, s := range p.Sites {
					if s.Rewritten() {
						rewritten++
					}
					if s.Way == Impossible {
						t.Errorf("%#x, number %d: %s", s.Addr, s.Number, s.Why)
					}
				}
				t.Log(len(p.Sites), "sites", p.Count())
				if rewritten < f.atLeast {
					t.Errorf("%d sites are rewritten, want %d", rewritten, f.atLeast)
				}
			})
	}
}

// TestGo looks at a static Go program: its network calls go through one site, whose
// number is not a constant.
func TestGo(t *testing.T) {
	for arch, wanted := range map[string]func(int) bool{"amd64": wantedAMD64,
		"arm64": wantedARM64} {
		t.Run(arch, func(t *testing.T) {
			dir := t.TempDir()
			source := filepath.Join(dir, "main.go")
			program := []byte("package main\nimport \"net\"\nfunc main() { net.Listen(\"tcp\", \"127.0.0.1:0\") }\n")
			if err := os.WriteFile(source, program, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, flags := range []string{"", "-s -w"} {
				cmd := exec.Command("go", "build", "-ldflags", flags, "-o",
					filepath.Join(dir, "main"), source)
				cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				p, err := New(read(t, filepath.Join(dir, "main")), wanted)
				if err != nil {
					t.Fatal(err)
				}
				count := p.Count()
				if len(p.Sites) < 30 || count[Window]+count[Seven]+count[Branch] < 3 ||
					count[Impossible] > 0 {
					t.Errorf("flags %q: %d sites, %v", flags, len(p.Sites), count)
				}
			}
		})
	}
}

// TestAgreesWithObjdump compares: each window begins and ends where objdump has an
// instruction, and what objdump has for syscall instructions is found, all of it and no
// more.
func TestAgreesWithObjdump(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{"/lib/x86_64-linux-gnu/libc.so.6",
		"/lib64/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-musl/libc.so"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			p, err := New(read(t, path), wantedAMD64)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("objdump", "-d", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			starts, syscalls := instructions(out)
			if len(starts) < 10_000 {
				t.Fatalf("objdump lists %d instructions", len(starts))
			}
			for _, s := range p.Sites {
				if !syscalls[s.Addr] {
					t.Errorf("%#x is no syscall to objdump", s.Addr)
				}
				delete(syscalls, s.Addr)
				if s.Rewritten() && (!starts[s.Start] || !starts[s.Start+uint64(s.Len)]) {
					t.Errorf("the window %#x, %d bytes, is not whole instructions to objdump", s.Start, s.Len)
				}
			}
			for a := range syscalls {
				t.Errorf("objdump has a syscall at %#x that is not found", a)
			}
		})
	}
}

// instructions reads the output of objdump -d: lines of address, bytes and text, with
// tabs between them. It returns the addresses of all instructions, and of those that are
// syscall. A regular expression takes ten times as long with the race detector.
func instructions(objdump []byte) (starts, syscalls map[uint64]bool) {
	starts, syscalls = make(map[uint64]bool), make(map[uint64]bool)
	for line := range bytes.Lines(objdump) {
		addr, rest, ok := bytes.Cut(line, []byte(":\t"))
		if !ok {
			continue // a heading, or the name of a function
		}
		a, err := strconv.ParseUint(string(bytes.TrimSpace(addr)), 16, 64)
		if err != nil {
			continue
		}
		starts[a] = true
		_, text, _ := bytes.Cut(rest, []byte("\t"))
		if bytes.HasPrefix(text, []byte("syscall")) {
			syscalls[a] = true
		}
	}
	return starts, syscalls
}

func TestForeign(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("#!/bin/sh\n"),
		bytes.Repeat([]byte{0x7f}, 100), []byte("\x7fELF")} {
		if _, err := New(b, wantedAMD64); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: error %v, want ErrForeign", b, err)
		}
	}
}
