package syscalls

// watchedCalls are the calls that boxer leaves to the kernel, and shows if asked to.
var watchedCalls = []signature{}
