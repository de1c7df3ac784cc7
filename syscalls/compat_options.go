package syscalls

import "golang.org/x/sys/unix"

// compatOptions are options whose values have another layout in the 32-bit ABI, and which
// this package does not convert.
var compatOptions = map[plainOption]bool{
	{unix.SOL_IP, unix.IP_PKTOPTIONS}:         true,
	{unix.SOL_IP, unix.MCAST_MSFILTER}:        true,
	{unix.SOL_IPV6, unix.IPV6_2292PKTOPTIONS}: true,
	{unix.SOL_IPV6, unix.MCAST_MSFILTER}:      true,
}

// timeOptions have a struct timeval as their value: socket(7).
var timeOptions = map[plainOption]bool{
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO}: true,
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO}: true,
}
