package syscalls

// A callSet is a set of calls, as strace has them.
type callSet uint8

// watchedCalls are the calls that boxer leaves to the kernel, and shows if asked to.
var watchedCalls = []signature{}
