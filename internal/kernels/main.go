package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/tempdir"
)

type options struct {
	kernels, cache, mirror, shell string
	limit                         time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.kernels, "kernels", "5.10,6.1,6.12,7.2",
		"versions of Linux, separated by commas")
	flag.StringVar(&o.cache, "cache", ".tools/kernels",
		"folder for kernel packages, about 300 MB each")
	flag.StringVar(&o.mirror, "mirror", "http://deb.debian.org/debian",
		"Debian archive to get kernels from")
	flag.StringVar(&o.shell, "run", "", "shell command to run in the guest instead of the tests")
	flag.DurationVar(&o.limit, "limit", 40*time.Minute, "end a guest after this long")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), `usage: kernels [flags]    (make kernels ARGS="flags")

Boots each kernel in QEMU and runs a short form of the tests there, as root, from a checkout
in which make build has run.

`)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// run tests all kernels and returns an error that names those that failed.
func (o *options) run(ctx context.Context) error {
	for _, tool := range []string{"qemu-system-x86_64", "busybox", "cpio", "depmod",
		"apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w; on Debian: apt-get install qemu-system-x86 busybox-static cpio kmod xz-utils", err)
		}
	}
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return err
	}
	temporary, err := tempdir.Make("boxer-kernels-")
	if err != nil {
		return err
	}
	defer temporary.Remove()
	work := temporary.Path
	// The guest has its own /tmp and sees the host's /tmp only under another path.
	shared, err := os.MkdirTemp(filepath.Dir(cache), "kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(shared)
	script, err := o.prepare(ctx, shared)
	if err != nil {
		return err
	}
	debian, err := openArchive(ctx, cache, o.mirror)
	if err != nil {
		return err
	}
	var failed, passed, skipped []string
	for version := range strings.SplitSeq(o.kernels, ",") {
		began := time.Now()
		err := o.test(ctx, debian, version, script, filepath.Join(work, version))
		took := time.Since(began).Round(time.Second)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNoKernel):
			skipped = append(skipped, version)
			fmt.Printf("--- SKIP: linux %s (%v): %v\n", version, took, err)
		case err != nil:
			failed = append(failed, version)
			fmt.Printf("--- FAIL: linux %s (%v): %v\n", version, took, err)
		default:
			passed = append(passed, version)
			fmt.Printf("--- PASS: linux %s (%v)\n", version, took)
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", len(passed), len(failed),
		len(skipped))
	if len(failed) > 0 {
		return fmt.Errorf("tests failed on linux %s", strings.Join(failed, ", "))
	}
	if len(passed) == 0 {
		return errors.New("no kernel was tested")
	}
	return nil
}

// test boots one kernel and runs the script in it.
func (o *options) test(ctx context.Context, debian *archive, version, script,
	initramfs string) error {
	name, err := debian.find(ctx, version)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "kernels: linux %s: %s\n", version, name)
	k, err := debian.unpack(ctx, name)
	if err != nil {
		return err
	}
	if err := makeInitramfs(ctx, k, script, initramfs); err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, o.limit,
		fmt.Errorf("not done after %v", o.limit))
	defer stop()
	status, err := boot(ctx, k, initramfs, io.Writer(os.Stdout))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil && status != 0 {
		err = fmt.Errorf("its tests ended with status %d", status)
	}
	return err
}

// prepare puts into dir what the guest runs, and returns the path of its script.
func (o *options) prepare(ctx context.Context, dir string) (script string, err error) {
	top, err := os.Getwd()
	if err != nil {
		return "", err
	}
	command := o.shell
	if command == "" {
		for _, pkg := range []string{"conformance", "e2e"} {
			build := exec.CommandContext(ctx, "scripts/go", "test", "-c", "-o",
				filepath.Join(dir, pkg+".test"), "./"+pkg)
			if _, err := output(build); err != nil {
				return "", err
			}
		}
		command = fmt.Sprintf(guestTests, dir)
	}
	script = filepath.Join(dir, "guest.sh")
	content := fmt.Sprintf(guestScript, os.Getenv("PATH"), top, command)
	return script, os.WriteFile(script, []byte(content), 0o644)
}

// guestScript is process 1 of the guest. %s are the PATH, the checkout and the command.
const guestScript = `export PATH=%s HOME=/root LANG=C.UTF-8 CI=true
(
cd %s || exit
%s
)
echo "kernels: exit $?"
/bin/busybox poweroff -f
`

// guestTests is what runs in a guest. %s is the folder with the test binaries.
//
// Filters need Linux 5.14. Before it, boxer run must refuse them at once, and take the
// calls inside the program otherwise: the tests run that way then.
const guestTests = `dir=%s
uname -r
bin/boxer doctor || exit
failed=0
if [ "$(printf '%%s\n' 5.14 "$(uname -r)" | sort -V | head -n 1)" != 5.14 ]; then
	echo "no filters on this kernel; --interposer seccomp must say so"
	timeout 60 bin/boxer run --interposer seccomp -- true
	[ $? -eq 125 ] || failed=1
fi
timeout 120 bin/boxer run -- sh -c 'echo "$0 runs on $(uname -n)"' a-program || failed=1
(cd conformance && "$dir/conformance.test" -test.v -test.run 'TestPrograms/^(accept|connect|stream|udp|children)$') || failed=1
(cd e2e && "$dir/e2e.test" -test.v -test.run 'TestPostgreSQL/^(addresses|pgbench)$') || failed=1
exit $failed`
