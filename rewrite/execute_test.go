package rewrite

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseScript(t *testing.T) {
	for head, want := range map[string][2]string{
		"#!/bin/sh\n":                {"/bin/sh", ""},
		"#! /bin/sh -e x \nmore":     {"/bin/sh", "-e x"},
		"#!/bin/sh\t-e\t\n":          {"/bin/sh", "-e"},
		"#!/bin/sh":                  {"/bin/sh", ""},
		"\x7fELF":                    {},
		"":                           {},
		"#!/bin/sh\x00-e\n":          {"/bin/sh", ""},
		"#!sh\n" + "x":               {"sh", ""},
		"#!/bin/env -S a b c d\n...": {"/bin/env", "-S a b c d"},
	} {
		interpreter, arg, err := parseScript([]byte(head))
		if err != nil || interpreter != want[0] || arg != want[1] {
			t.Errorf("%q: %q, %q, %v; want %q", head, interpreter, arg, err, want)
		}
	}
	for _, head := range []string{"#!\n", "#! \t\n",
		"#!" + strings.Repeat("x", scriptHead-2)} {
		if interpreter, _, err := parseScript([]byte(head)); !errors.Is(err,
			unix.ENOEXEC) {
			t.Errorf("%.20q: %q, %v; want ENOEXEC", head, interpreter, err)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add([]byte("#! /bin/sh -e\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if interpreter, arg, err := parseScript(head); err == nil &&
			(strings.ContainsAny(interpreter, " \t\n\x00") ||
				strings.Contains(arg, "\x00")) {
			t.Errorf("%q: %q, %q", head, interpreter, arg)
		}
	})
}

// FuzzImage reads headers of files that somebody else made.
func FuzzImage(f *testing.F) {
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := imageOf(bytes.NewReader(b), native.machine)
		if err != nil {
			return
		}
		for _, s := range m.Segments[:m.N] {
			if s.Addr < m.Low || s.Addr+s.Memsz > m.High || s.Filesz > s.Memsz {
				t.Errorf("segment %+v of %+v", s, m)
			}
		}
	})
}

// TestExecute executes what execve(2) tells apart, from Python, and compares with the
// kernel's own.
func TestExecute(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("script", "#!/bin/sh -f\necho script $0 $- $#\ntr '\\0' ' ' </proc/$$/cmdline\n", 0o755)
	write("twice", "#!"+dir+"/script\n", 0o755)
	write("none", "#!/nonexistent\n", 0o755)
	write("text", "echo text\n", 0o755)
	write("data", "#!/bin/sh\n", 0o644)
	write("empty", "", 0o755)
	write("itself", "#!"+dir+"/itself\n", 0o755)
	const script = `import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
d = sys.argv[1]
def child(what, f):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try: f()
        except OSError as e: print(what, e.errno)
        sys.stdout.flush(); os._exit(0)
    print(what, os.waitpid(pid, 0)[1])
for name in "script", "twice", "none", "text", "data", "empty", "itself", "absent", ".", "script/x", "x" * 300:
    child(name[:9], lambda: os.execve(d + "/" + name, [name[:9], "a b"], {"PATH": "/bin:/usr/bin"}))
os.chdir(d)
child("relative", lambda: os.execve("./script", ["x"], {"PATH": "/bin:/usr/bin"}))
fd = os.open("/bin/echo", os.O_RDONLY)
child("fd", lambda: os.execve(fd, ["echo", "by descriptor"], {}))
path = os.open("/bin/echo", os.O_PATH)
def at(dirfd, name, flags):
    argv = (ctypes.c_char_p * 3)(b"echo", b"execveat", None)
    libc.syscall(int(sys.argv[2]), dirfd, name, argv, None, flags)
    raise OSError(ctypes.get_errno(), "")
child("O_PATH", lambda: at(path, b"", 0x1000))
child("directory", lambda: at(os.open("/bin", os.O_RDONLY), b"echo", 0))
child("bad", lambda: at(99, b"echo", 0))
m = os.memfd_create("copy"); os.write(m, open("/bin/echo", "rb").read())
child("memfd", lambda: os.execve(m, ["echo", "from memory"], {}))
child("NULL", lambda: (libc.execve(None, None, None), (_ for _ in ()).throw(OSError(ctypes.get_errno(), "")))[0])
child("too big", lambda: os.execve("/bin/true", ["true", "x" * 200000], {}))
`
	number := strconv.Itoa(unix.SYS_EXECVEAT)
	bare, err := exec.Command("/usr/bin/python3", "-c", script, dir,
		number).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, bare)
	}
	l := newLab(t, nil, func(c *Call) { c.Continue() })
	if got, want := l.run(t, "/usr/bin/python3", "-c", script, dir, number),
		strings.TrimRight(string(bare), "\n"); got != want {
		t.Errorf("got\n%s\nbare\n%s", got, want)
	}
}

// TestCannotFollow executes what the loader cannot map: it fails, and is told.
func TestCannotFollow(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	s, err := New(Config{Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := &lab{s: s}
	dir := t.TempDir()
	elf32 := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 100)...)
	elf32[16], elf32[18], elf32[20], elf32[40] = 2, 3, 1, 52 // ET_EXEC, EM_386
	if err := os.WriteFile(filepath.Join(dir, "i386"), elf32, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := l.command(t, "env", filepath.Join(dir, "i386")).CombinedOutput(); err == nil {
		t.Errorf("a 32-bit program ran: %s", out)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "cannot follow a program") ||
		!strings.Contains(log.String(), "i386") {
		t.Errorf("the log says %q", &log)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// TestWarnsOfSetuid executes files that say which user or group they run as.
func TestWarnsOfSetuid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a file of another user, which takes root")
	}
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	const other = 12345
	for _, test := range []struct {
		name     string
		uid, gid int
		mode     uint32
		want     string
	}{
		{"plain", other, other, 0o755, ""},
		{"own", 0, 0, 0o6755, ""},
		{"user", other, 0, 0o4755, "set-user-ID"},
		{"group", 0, other, 0o2755, "set-group-ID"},
		{"locks", 0, other, 0o2745, ""}, // mandatory locks: no group executes it
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "true")
			if err := errors.Join(os.WriteFile(path, b, 0o755),
				os.Chown(path, test.uid, test.gid),
				unix.Chmod(path, test.mode)); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var log bytes.Buffer
			cfg := Config{CopyFD: copyFD,
				Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))}
			l := newLabOf(t, native, cfg, func(c *Call) { c.Continue() })
			l.run(t, path)
			l.run(t, "sh", "-c", path+"; true")
			mu.Lock()
			defer mu.Unlock()
			want := 0
			if test.want != "" {
				want = 2
			}
			if n := strings.Count(log.String(), "(set-"); n != want ||
				!strings.Contains(log.String(), test.want) {
				t.Errorf("%d warnings, want %d of %q:\n%s", n, want, test.want,
					log.String())
			}
		})
	}
}
