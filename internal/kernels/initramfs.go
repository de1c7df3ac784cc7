package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// guestModules are the modules that the guest needs to mount the host's files.
var guestModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay"}

// initScript is the guest's first process. It mounts a writable layer above the host's
// root directory and executes the guest's script there. It does not use chroot(2): a
// process that enters another mount namespace leaves such a root. %s are the modules in
// their order, the folder of the kernel's modules, and that of the script.
const initScript = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
echo 4 >/proc/sys/kernel/printk
for module in %s; do
	insmod /modules/$module || echo "kernels: insmod $module failed"
done
mkdir -p /host /layer /root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=mmap host /host || poweroff -f
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root || poweroff -f
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o ptmxmode=666 pts /root/dev/pts
mount -t tmpfs -o mode=1777 tmp /root/dev/shm
mount -t tmpfs -o mode=1777 tmp /root/tmp
mount -t tmpfs run /root/run
mkdir -p /root/lib/modules
mount --bind /root%s /root/lib/modules
mount -t cgroup2 cgroup /root/sys/fs/cgroup 2>/dev/null
echo none >/root/etc/resolv.conf
ip link set lo up
exec switch_root /root /bin/bash %s
`

// makeInitramfs writes the guest's first file system to path. The guest then runs script
// with the shell.
func makeInitramfs(ctx context.Context, k *kernel, script, path string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "initramfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, d := range []string{"bin", "dev", "proc", "modules"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox,
		0o755); err != nil {
		return err
	}
	files, err := k.modules(ctx, guestModules...)
	if err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		name, err := unpackModule(ctx, file, filepath.Join(dir, "modules"))
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	init := fmt.Sprintf(initScript, strings.Join(names, " "),
		filepath.Join(k.base(), "lib/modules"), script)
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(init), 0o755); err != nil {
		return err
	}
	pack := exec.CommandContext(ctx, "sh", "-c", `find . | cpio --quiet -o -H newc | gzip -1 >"$0"`, path)
	pack.Dir = dir
	_, err = output(pack)
	return err
}

// unpackModule copies a module to dir and returns its name there. It decompresses the
// module: newer packages have compressed modules, which busybox cannot load.
func unpackModule(ctx context.Context, file, dir string) (string, error) {
	name := filepath.Base(file)
	var content []byte
	var err error
	switch filepath.Ext(name) {
	case ".xz":
		name = strings.TrimSuffix(name, ".xz")
		var said string
		said, err = output(exec.CommandContext(ctx, "xz", "-dc", file))
		content = []byte(said)
	case ".zst":
		name = strings.TrimSuffix(name, ".zst")
		var said string
		said, err = output(exec.CommandContext(ctx, "zstd", "-dc", file))
		content = []byte(said)
	default:
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(filepath.Join(dir, name), content, 0o644)
}
