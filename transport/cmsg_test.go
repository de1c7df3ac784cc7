package transport

import (
	"encoding/binary"
)

// unixCmsg makes a control message as it lies in memory on 64-bit Linux: struct
// cmsghdr has the length in 8 bytes, level and type in 4 each (cmsg(3)).
func unixCmsg(length int, level, kind int32, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(length))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	return append(b, value...)
}
