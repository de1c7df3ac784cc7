package conformance

import (
	"encoding/xml"
	"os/exec"
	"slices"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// pythonTests are the modules of Python's test suite that are about sockets and the
// protocols above them. Those in the second list are about processes and signals as well,
// and are long.
var (
	pythonTests = []string{
		"test_socket", "test_ssl", "test_selectors", "test_select", "test_poll",
		"test_epoll", "test_socketserver", "test_httplib",
		"test_httpservers", "test_ftplib", "test_smtplib", "test_poplib", "test_imaplib",
		"test_telnetlib", "test_nntplib",
		"test_xmlrpc", "test_docxmlrpc", "test_asyncore", "test_asynchat", "test_smtpd",
		"test_urllib2_localnet", "test_wsgiref",
		"test_fcntl", "test.test_asyncio.test_base_events",
		"test.test_asyncio.test_events", "test.test_asyncio.test_server",
		"test.test_asyncio.test_sock_lowlevel", "test.test_asyncio.test_sendfile",
		"test.test_asyncio.test_streams",
		"test.test_asyncio.test_ssl", "test.test_asyncio.test_sslproto",
		"test.test_asyncio.test_buffered_proto",
	}
	longPythonTests = []string{
		"test_signal", "test_eintr", "test_logging", "test_multiprocessing_fork",
		"test_subprocess", "test_pty", "test_posix",
		"test_concurrent_futures", "test.test_asyncio.test_subprocess",
		"test.test_asyncio.test_unix_events",
	}
)

// TestPython runs the tests of Debian's Python.
func TestPython(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	if err := exec.Command("/usr/bin/python3", "-c",
		"import test.test_socket").Run(); err != nil {
		natlab.Skip(t, "import test.test_socket: "+err.Error()+": install Debian's libpython3.11-testsuite")
	}
	modules := pythonTests
	if *suites {
		modules = slices.Concat(longPythonTests, pythonTests)
	}
	// Network: the resource by which sockets of this host are meant, too. VSOCK has tests
	// that hang on virtual machines. testSourceAddress closes a descriptor in one thread
	// while another asks for its name: which comes first depends on how long
	// getsockname(2) takes.
	flags := []string{"-m", "test", "-j4", "-u", "network", "-i", "*VSOCK*", "-i",
		"testSourceAddress", "-v", "--timeout", "180", "--junit-xml", "{out}"}
	suite{
		name: "python", dir: t.TempDir(),
		argv:     slices.Concat([]string{"/usr/bin/python3"}, flags, modules),
		verdicts: pythonVerdicts, atLeast: 1000,
	}.judge(t, bareWorld(t), boxedWorld(t))
}

// pythonVerdicts reads the report that Python's regrtest writes in the format of JUnit.
func pythonVerdicts(_, written []byte) (map[string]string, error) {
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Status  string    `xml:"status,attr"`
				Skipped *struct{} `xml:"skipped"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(written, &report); err != nil {
		return nil, err
	}
	verdicts := map[string]string{}
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil || c.Error != nil:
				verdicts[c.Name] = failed
			case c.Skipped != nil || c.Status != "run":
				verdicts[c.Name] = skipped
			case verdicts[c.Name] == "":
				verdicts[c.Name] = passed
			}
		}
	}
	return verdicts, nil
}
