package tempdir

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ownerEnv has the test binary make a directory, print its name and wait.
const ownerEnv = "BOXER_TEMPDIR_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		d, err := Make("owned-")
		if err != nil {
			panic(err)
		}
		println(d.Path)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed
		return
	}
	os.Exit(m.Run())
}

// TestMake makes a directory beside those of a living process, of a dead one, and of
// others.
func TestMake(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	foreign := filepath.Join(os.TempDir(), "owned-17")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	alive, _ := owner(t)
	dead, kill := owner(t)
	if err := os.WriteFile(filepath.Join(dead, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make("owned-"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{foreign, alive, dead} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("removed while its owner lived: %v", err)
		}
	}
	kill()
	own, err := Make("owned-")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{foreign, alive, own.Path} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("removed: %v", err)
		}
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s of a dead process is there: %v", dead, err)
	}
	if err := own.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(own.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
}

// TestLinks leaves alone what symbolic links lead to.
func TestLinks(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead, kill := owner(t)
	kill()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(dead, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, dead); err != nil {
		t.Fatal(err)
	}
	if _, err := Make("owned-"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, marker)); err != nil {
		t.Error(err)
	}
}

// TestOthersStay leaves directories that look abandoned, but may not be: of another boot
// or kernel, of an unknown one, and of other names. TMPDIR has a name that is a pattern
// of filepath.Match.
func TestOthersStay(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), "[a]")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	marked := func(name, boot string) string {
		dir := filepath.Join(tmp, name)
		if err := errors.Join(os.Mkdir(dir, 0o700),
			os.WriteFile(filepath.Join(dir, marker), []byte(boot), 0o600)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	boot := bootID()
	dead := marked("owned-1", boot)
	others := []string{marked("owned-2", "6fd7b0d3-0a2f-4c6e-9d6a-1f0a2b3c4d5e"),
		marked("owned-3", ""), marked("owned-4", boot+"x"), marked("owned-", boot),
		marked("owned-5.old", boot), marked("mine-6", boot)}
	d, err := Make("owned-")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove()
	for _, dir := range others {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("removed: %v", err)
		}
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there: %v", dead, err)
	}
}

// owner starts a process that makes a directory. kill kills it and waits for its end.
func owner(t *testing.T) (dir string, kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), ownerEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	}
	t.Cleanup(kill)
	return strings.TrimSpace(line), kill
}
