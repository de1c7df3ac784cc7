// Command kernels runs tests of boxer on other Linux kernels (make kernels).
//
// For each kernel version that it is given, it gets Debian's package of that kernel,
// boots it in QEMU without hardware virtualization, and runs the same tests there:
//
//	host                                     guest
//	apt-get download, dpkg -x ──────────►    kernel, modules
//	initramfs: busybox, 9p, overlayfs ──►    / is the host's root folder, read-only (9p),
//	                                         with a tmpfs above it (overlayfs)
//	test binaries of this checkout ─────►    run as root; their output is the console's
//
// So the guest has the host's programs, and cannot change the host's files.
// The guest has no network but its own loopback and the namespaces that tests make.
//
// QEMU interprets the guest's code, which makes it 10 to 30 times slower than the host:
// the tests are a selection. Kernel packages stay in a cache folder.
package main
