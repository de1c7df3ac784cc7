package linux

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ParseRights returns the descriptors in control messages that recvmsg(2) has written,
// including those before a malformed message, because the caller has to close them. from
// is the sender, if SO_PASSCRED is set, or nil.
func ParseRights(oob []byte) (fds []int, from *unix.Ucred) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return fds, from
		}
		oob = rest
		switch {
		case h.Level != unix.SOL_SOCKET:
		case h.Type == unix.SCM_RIGHTS: // unix.ParseUnixRights panics at half a descriptor
			for ; len(data) >= 4; data = data[4:] {
				fds = append(fds, int(int32(binary.NativeEndian.Uint32(data))))
			}
		case h.Type == unix.SCM_CREDENTIALS && len(data) >= unix.SizeofUcred:
			from = &unix.Ucred{
				Pid: int32(binary.NativeEndian.Uint32(data)),
				Uid: binary.NativeEndian.Uint32(data[4:]),
				Gid: binary.NativeEndian.Uint32(data[8:]),
			}
		}
	}
	return fds, from
}
