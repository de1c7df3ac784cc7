package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestFTP fetches and stores files with vsftpd, whose processes have a chroot and other
// users, and leave the port 20 to a privileged one. For active transfers the server
// connects back, from there, to the address that the client tells it.
func TestFTP(t *testing.T) {
	natlab.NeedUsers(t)
	natlab.NeedCommands(t, "vsftpd", "curl")
	ftp, app := pair(t, "ftp", "app")
	root := tempDir(t)
	upload, empty := filepath.Join(root, "upload"), tempDir(t)
	if err := os.Mkdir(upload, 0o777); err != nil {
		t.Fatal(err)
	}
	chown(t, upload, "ftp")
	config := filepath.Join(tempDir(t), "vsftpd.conf")
	write(t, config, fmt.Sprintf(`
background=NO
listen=YES
anonymous_enable=YES
local_enable=NO
anon_root=%s
anon_upload_enable=YES
anon_umask=022
write_enable=YES
port_enable=YES
connect_from_port_20=YES
secure_chroot_dir=%s
seccomp_sandbox=NO
xferlog_enable=YES
vsftpd_log_file=%s/log
log_ftp_protocol=YES
`, root, empty, filepath.Dir(config)))
	const size = 5 << 20
	randomFile(t, filepath.Join(root, "file"), size)
	sum, _ := checksum(t, filepath.Join(root, "file"))
	ftp.start("vsftpd", config)
	app.reach("ftp:21")

	for _, tc := range []struct {
		name string
		args []string
	}{
		// vsftpd listens over IPv4. Where a connect takes 200 ms, curl tries IPv6 as well
		// (RFC 8305), which the network translates; the address that curl then tells in
		// EPRT is an IPv6 one, and to that vsftpd does not connect.
		{"active", []string{"--ipv4", "--ftp-port", "-", "--disable-eprt"}},
		{"active EPRT", []string{"--ipv4", "--ftp-port", "-"}},
		{"passive", []string{"--disable-epsv"}},
		{"passive EPSV", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			app := app.with(t)
			got := filepath.Join(tempDir(t), "got")
			curl := append([]string{"-sS", "-m", fmt.Sprint(proctest.Patience.Seconds())},
				tc.args...)
			app.run("curl", append(curl, "-o", got, "ftp://ftp/file")...)
			if again, n := checksum(t, got); again != sum || n != size {
				t.Errorf("fetched: %d bytes %s, want %d bytes %s", n, again, size, sum)
			}
			app.run("curl", append(curl, "-T", got, "ftp://ftp/upload/"+filepath.Base(t.Name()))...)
			if again, n := checksum(t, filepath.Join(upload,
				filepath.Base(t.Name()))); again != sum || n != size {
				t.Errorf("stored: %d bytes %s, want %d bytes %s", n, again, size, sum)
			}
		})
	}
}
