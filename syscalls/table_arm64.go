package syscalls

// archTable has the rows that other architectures lack.
var archTable []Entry
