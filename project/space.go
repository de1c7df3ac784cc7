package project

import (
	"os"
	"syscall"
)

// A Space is the view that an instance has of files: the host's, or those of an image,
// with mounts. It is made in a mount namespace (mount_namespaces(7)), for which a user
// without CAP_SYS_ADMIN needs user namespaces.
type Space struct {
	// directory with an image's files, which stay as they are; empty: the host's
	Root   string
	Mounts []Mount // in this order
	Files  []File  // secrets and configs

	ReadOnly bool // Root cannot be written to
}

// A Mount shows a directory or a file at another place.
type Mount struct {
	// empty: an empty file system in memory (tmpfs(5))
	Source   string `json:",omitempty"`
	Target   string
	ReadOnly bool  `json:",omitempty"`
	File     bool  `json:",omitempty"` // Source is not a directory
	Size     int64 `json:",omitempty"` // of a tmpfs, in bytes; 0: the kernel's default
}

// A File is a file that an instance is given.
type File struct {
	Target   string
	Content  []byte
	Mode     uint32 // 0: 0444
	UID, GID int    // -1: the service's user
}

// EnterName is argv[0] of a process that makes a Space and then becomes boxer run.
const EnterName = "boxer-enter"

// IsEnter reports whether this process is one; main then calls Enter and nothing else.
func IsEnter() bool { return len(os.Args) > 2 && os.Args[0] == EnterName }

// An enterOrder says what Enter makes. It comes from standard input.
type enterOrder struct {
	Space Space
	Own   string // directory of the instance's own, for what it changes in an image
	User  *User
	Dir   string // working directory
}

// namespaces returns how a process starts whose mounts are its own.
func namespaces() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}
