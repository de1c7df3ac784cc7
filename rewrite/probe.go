package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/rewrite/plan"
)

// Probe runs a program under the loader and passes all its calls to the kernel. It
// returns an error if this does not work on this host.
func Probe(path string, argv ...string) error {
	s, err := New(Config{})
	if err != nil {
		return err
	}
	err = s.Prepare(path)
	if err == nil {
		cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", s.Loader().Fd()), argv[1:]...)
		cmd.Args[0] = argv[0]
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err = cmd.Run(); err != nil {
			err = fmt.Errorf("a rewritten program did not run: %w: %s", err,
				bytes.TrimSpace(stderr.Bytes()))
		}
	}
	return errors.Join(err, s.Close())
}

// PlanFile returns how a Server with these rules would rewrite a file.
func PlanFile(path string, rules []Rule) (*plan.Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		var errno unix.Errno
		if errors.As(err, &errno) {
			return nil, errno
		}
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() == 0 {
		return nil, plan.ErrForeign
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(b)
	wanted := make(map[int]bool)
	for _, r := range rules {
		wanted[int(r.Nr)] = true
	}
	for _, nr := range native.mechanisms {
		wanted[int(nr)] = true
	}
	p, err := plan.New(b, func(nr int) bool { return wanted[nr] })
	if err != nil {
		return nil, err
	}
	if p.Machine != native.machine {
		return nil, fmt.Errorf("%w: %v", ErrOtherABI, p.Machine)
	}
	return p, nil
}
