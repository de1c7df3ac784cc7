package launcher

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCoverUmask makes the files of the network under a strict umask(2), as a
// hardened host has it: a program that changes its user reads them all the same.
func TestCoverUmask(t *testing.T) {
	const mounts = "/proc/thread-self/ns/mnt"
	before, err := os.Readlink(mounts)
	if err != nil {
		t.Skip(err)
	}
	skipped := ""
	_, err = inOwnNamespaces(func() error { // unshare(CLONE_NEWNS) gives this thread its own umask
		if now, err := os.Readlink(mounts); err != nil || now == before {
			skipped = "no mount namespace to be had"
			return nil
		}
		unix.Umask(0o077)
		c := &cover{
			ProcNet:     map[string]string{"dev": "dev\n"},
			SysClassNet: map[string]string{"eth9/address": "address\n"},
		}
		if err := c.mount(); err != nil {
			skipped = err.Error()
			return nil
		}
		for path, want := range map[string]os.FileMode{
			"/proc/net/dev": 0o444, sysClassNet + "/eth9": os.ModeDir | 0o755,
			sysClassNet + "/eth9/address": 0o444,
		} {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.Mode() != want {
				t.Errorf("%s: mode %v, want %v", path, info.Mode(), want)
			}
		}
		if umask := unix.Umask(0o077); umask != 0o077 {
			t.Errorf("the umask is %#o", umask)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if skipped != "" {
		t.Skip(skipped)
	}
}
