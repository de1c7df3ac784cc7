// Package landlock finds out which TCP ports landlock(7) denies to programs, and
// remembers it for each thread.
//
// [Probe] tries a ruleset. [Domains] has the domain of each thread that has restricted
// itself. The supervisor needs both because it binds and connects copies of a program's
// sockets: the kernel checks these calls against the supervisor's domain, not against the
// program's.
package landlock
