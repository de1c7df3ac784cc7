// Package lambdabox is a small AWS Lambda for tests and for the demo: the API that makes
// and invokes functions, and environments that refuse what those of the service refuse.
//
//	SDK ── HTTP ──► Box ──► Environment ── Runtime API ──► bootstrap, in a jail
//
// Each environment is a machine of its own, such as a host of package natlab behind a
// NAT. It has one invocation at a time, is frozen between invocations, and is killed at
// the function's time limit. Its root file system is read-only but for /tmp, and its
// programs run in the jail of internal/jail: without seccomp(2), ptrace(2) and
// namespaces, as a user without privileges, with 1,024 descriptors.
//
// What the service has and a test of boxer does not need is missing: versions and
// aliases, function URLs, event sources, concurrency settings, metrics. Requests are not
// authenticated; they must be signed all the same, as a client that forgets that would
// fail there.
package lambdabox
