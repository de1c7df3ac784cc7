package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// boot runs the kernel with the initramfs until the guest powers off. It prints the
// guest's console and returns the exit status of the guest's script.
func boot(ctx context.Context, k *kernel, initramfs string, show io.Writer) (status int,
	err error) {
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072",
		"-nographic", "-no-reboot", "-net", "none", "-monitor", "none", "-serial", "stdio",
		"-kernel", k.image(), "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off",
		"-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap")
	qemu.Stderr = os.Stderr
	console, err := qemu.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := qemu.Start(); err != nil {
		return 0, fmt.Errorf("start QEMU: %w", err)
	}
	status = -1
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if _, err := fmt.Sscanf(line, "kernels: exit %d", &status); err == nil {
			continue
		}
		fmt.Fprintln(show, strings.ReplaceAll(line, "\x1bc\x1b[?7l\x1b[2J\x1b[0m", ""))
	}
	if err := qemu.Wait(); err != nil {
		return status, fmt.Errorf("QEMU: %w", err)
	}
	if status < 0 {
		return status, fmt.Errorf("linux %s ended before its tests did", k.release)
	}
	return status, nil
}
