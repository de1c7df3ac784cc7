package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/launcher"
)

// linkFlags are how boxer inside a function, or of a project, controls its own boxer run.
// They are hidden: their descriptors mean nothing to anybody else.
type linkFlags struct{ link, hold, control string }

func (l *linkFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.link, "link", "", "connect the socket `FD` with ADDR:PORT of the network: FD=ADDR:PORT")
	f.StringVar(&l.hold, "hold", "", "start the program when a byte comes from the pipe `FD`")
	f.StringVar(&l.control, "control-fd", "", "serve the project whose supervisor has the "+
		"other end of the socket `FD`")
	for _, name := range []string{"link", "hold", "control-fd"} {
		if err := f.MarkHidden(name); err != nil {
			panic(err) // a flag that is there
		}
	}
}

// config sets what the flags mean.
func (l *linkFlags) config(cfg *launcher.RunConfig) (err error) {
	if l.link != "" {
		fd, to, _ := strings.Cut(l.link, "=")
		cfg.Link = &launcher.Link{}
		if cfg.Link.To, err = netip.ParseAddrPort(to); err != nil {
			return fmt.Errorf("--link %q: %w", l.link, err)
		}
		if cfg.Link.File, err = ownFile(fd); err != nil {
			return fmt.Errorf("--link %q: %w", l.link, err)
		}
	}
	if l.hold != "" {
		if cfg.Hold.File, err = ownFile(l.hold); err != nil {
			return fmt.Errorf("--hold %q: %w", l.hold, err)
		}
	}
	return nil
}

// ownFile takes a descriptor that this process was given, so that the program does not
// get it.
func ownFile(fd string) (*os.File, error) {
	n, err := strconv.Atoi(fd)
	if err != nil || n < 3 {
		return nil, fmt.Errorf("%q is no descriptor from 3 on", fd)
	}
	if _, err := unix.FcntlInt(uintptr(n), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, err
	}
	// Only a descriptor that does not block can be closed while it is read.
	if err := unix.SetNonblock(n, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), "fd "+fd), nil
}
