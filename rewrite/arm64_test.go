package rewrite

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// Numbers of arm64's system calls (include/uapi/asm-generic/unistd.h).
const (
	armSocket  = 198
	armRecvmsg = 212
)

// TestARM64 runs arm64 programs on other machines, under qemu-user, with a supervisor of
// this machine. There execve(2) is the emulator's, so the programs start no children.
func TestARM64(t *testing.T) {
	for _, name := range []string{"qemu-aarch64-static", "aarch64-linux-gnu-gcc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	loader, err := os.ReadFile("inside/inside_arm64.bin")
	if err != nil {
		t.Fatal(err)
	}
	var rules []Rule
	for nr := uintptr(armSocket); nr <= armRecvmsg; nr++ {
		rules = append(rules, Rule{Nr: nr})
	}
	var n atomic.Int64
	arm := target{machine: elf.EM_AARCH64, loader: loader,
		mechanisms: []uintptr{221, 281, 222, 78}}
	l := newLabOf(t, arm, Config{Rules: rules, CopyFD: copyFD}, func(c *Call) {
		n.Add(1)
		c.Continue()
	})
	dir := t.TempDir()
	for _, test := range []struct {
		name  string
		build []string
	}{
		{"glibc static", []string{"aarch64-linux-gnu-gcc", "-O1", "-static", "-pthread"}},
		{"glibc", []string{"aarch64-linux-gnu-gcc", "-O1", "-pthread",
			"-Wl,--dynamic-linker,/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
			"-Wl,-rpath,/usr/aarch64-linux-gnu/lib"}},
		{"Go", []string{"go", "build"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(dir, filepath.Base(test.name))
			source := "testdata/echo.c"
			if test.build[0] == "go" {
				source = "testdata/echo.go"
			}
			cmd := exec.Command(test.build[0],
				append(test.build[1:], "-o", path, source)...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			before := n.Load()
			if err := l.s.Prepare(path); err != nil {
				t.Fatal(err)
			}
			run := exec.Command("qemu-aarch64-static", "-E", "ALONE=1", "/proc/self/fd/3")
			run.ExtraFiles = []*os.File{l.s.Loader()}
			out, err := run.CombinedOutput()
			if err != nil || string(out) != "50 echoes; " {
				t.Errorf("%v\n%s", err, out)
			}
			if got := n.Load() - before; got < 150 {
				t.Errorf("%d calls were taken, want at least 150", got)
			}
		})
	}
}
