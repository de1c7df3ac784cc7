package rewrite

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// folderPrefix begins the names of the folders for control sockets. The supervisor's PID
// follows.
const folderPrefix = "boxer-control-"

// listenByPath makes a second control socket, which has a path. Each network namespace
// has abstract names of its own (unix(7)), and browsers execute programs in others. It
// does without the socket where no folder for it can be made.
func (s *Server) listenByPath() {
	sweepFolders(os.TempDir())
	folder, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		s.cfg.Logger.Debug("no control socket for other network namespaces", "err", err)
		return
	}
	s.folder = folder
	path := filepath.Join(folder, "s")
	// Processes of other users may connect; peer decides.
	err = os.Chmod(folder, 0o711)
	if err == nil && len(path) >= maxPath {
		err = unix.ENAMETOOLONG
	}
	if err == nil {
		s.byPath, err = net.ListenUnix("unixpacket",
			&net.UnixAddr{Name: path, Net: "unixpacket"})
	}
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		s.cfg.Logger.Debug("no control socket for other network namespaces", "err", err)
		s.releasePath()
	}
}

// releasePath removes the socket and its folder.
func (s *Server) releasePath() {
	if s.byPath != nil {
		s.byPath.Close()
		s.byPath = nil
	}
	if s.folder != "" {
		os.RemoveAll(s.folder)
		s.folder = ""
	}
}

// sweepFolders removes the folders of this user's supervisors that were killed.
func sweepFolders(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, folderPrefix+"*"))
	for _, folder := range found {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), folderPrefix), "-")
		pid, err := strconv.Atoi(text)
		var st unix.Stat_t
		if err != nil || pid <= 0 || unix.Lstat(folder, &st) != nil ||
			int(st.Uid) != os.Geteuid() || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		os.RemoveAll(folder)
	}
}
