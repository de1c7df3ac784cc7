package rewrite

import (
	"bytes"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/rewrite/plan"
)

// A Condition compares one argument of a call, as the registers hold it.
type Condition struct {
	Arg   uint   // 0 to 5
	Op    Op     // how Value is compared
	Mask  uint64 // for MaskedEqual: the bits that count
	Value uint64
}

// Op is a comparison of a [Condition].
type Op uint8

const (
	// NotEqual compares all 64 bits.
	NotEqual Op = iota
	// AtLeast compares all 64 bits, unsigned.
	AtLeast
	// MaskedEqual compares the bits of Mask.
	MaskedEqual
	// ProcNet treats the argument as the address of a path. It holds if the path begins
	// with /proc and may name a file in a directory "net" there. It does not hold if the
	// memory cannot be read.
	ProcNet
)

// A Rule says which calls of one number the hook takes: those for which all conditions
// hold. If a number has several rules, the first that holds decides.
type Rule struct {
	Nr    uintptr
	If    []Condition
	Errno unix.Errno // if not 0, the call fails with it, without the supervisor
	// Log lets the kernel do the call, within the hook, and passes it to Config.Logged
	// later. Calls that do not return as others do must not be logged: those that make
	// or end threads and processes, and rt_sigreturn(2). Capture, the same in all rules
	// with Log of a number, says what memory is stored; at most four arguments.
	Log     bool
	Capture []Capture
}

// Config configures a Server.
type Config struct {
	Rules []Rule
	// CopyFD copies a descriptor of the thread that calls; see pidfd_getfd(2).
	CopyFD func(c *Call, fd int) (int, error)
	Logger *slog.Logger // nil: none
	// Cache is a directory in which plans are stored for later Servers. It must be
	// accessible to the user alone. If empty, plans are not stored.
	Cache string
	// Processor adds one to GOMAXPROCS during Serve. Serve's thread sleeps in the kernel
	// and then holds one of the runtime's processors until the runtime's monitor takes it
	// away, up to 10 ms later.
	Processor bool
	// Logged receives the calls of rules with Log, soon after they have ended, one at a
	// time. It must not keep what it receives.
	Logged func(*Logged)
	// Payload is how many bytes of what a call sends or receives are stored for Logged,
	// at most MaxPayload.
	Payload int
}

// A Server is the supervisor's side: it starts programs under the loader and answers
// their calls.
type Server struct {
	cfg      Config
	target   target
	files    files
	loader   *os.File
	memory   *os.File // of shared
	shared   *shared
	listener *net.UnixListener
	byPath   *net.UnixListener // for other network namespaces; nil: there is none
	folder   string            // of byPath
	closing  atomic.Bool
	seen     [slots]seen   // used by Serve: threads that it has checked
	taken    [slots]uint32 // used by Serve: words of the calls taken last
	indirect atomic.Bool   // programs act for the supervisor: see operate
	cells    chan int      // free cells of shared
	waiting  atomic.Int64  // the length of waiters
	tasks    sync.WaitGroup

	logging sync.Mutex    // held while logs are read
	reader  *logReader    // nil: no rule has Log
	logFull chan struct{} // a log may be half full

	naming    sync.Mutex    // held while shared.named changes
	forgotten atomic.Uint64 // calls of ForgetNames

	mu         sync.Mutex
	first      *prepared                 // for the first process that asks
	firstTaken chan struct{}             // closed when first has been taken
	prepared   map[int]*prepared         // by process
	fetches    map[waitKey]int           // descriptors for programs
	copies     map[waitKey]chan *os.File // descriptors from programs
	waiters    map[*slot]chan struct{}   // that something is done
	conns      map[*net.UnixConn]struct{}
}

// A target is a machine that programs are built for.
type target struct {
	machine    elf.Machine
	loader     []byte    // inside/inside_*.bin
	mechanisms []uintptr // the calls that the interposer itself needs
	names      []uintptr // getsockname and getpeername
}

// New makes a Server. Close releases it.
func New(cfg Config) (*Server, error) { return newServer(cfg, native) }

func newServer(cfg Config, target target) (_ *Server, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, target: target, prepared: make(map[int]*prepared),
		fetches: make(map[waitKey]int), copies: make(map[waitKey]chan *os.File),
		waiters: make(map[*slot]chan struct{}),
		cells:   make(chan int, cells), conns: make(map[*net.UnixConn]struct{}),
		logFull: make(chan struct{}, 1)}
	s.files.warn = s.warn
	for n := range cells {
		s.cells <- n
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.makeShared(); err != nil {
		return nil, err
	}
	if err := s.setRules(); err != nil {
		return nil, err
	}
	if err := s.makeLogs(); err != nil {
		return nil, err
	}
	s.files.cache = newPlanCache(cfg.Cache, s.shared.table[:calls])
	name := "boxer-" + rand.Text()[:20]
	s.listener, err = net.ListenUnix("unixpacket",
		&net.UnixAddr{Name: "@" + name, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	s.listenByPath()
	if err := s.makeLoader(name); err != nil {
		return nil, err
	}
	s.tasks.Go(func() { s.acceptControl(s.listener) })
	if s.byPath != nil {
		s.tasks.Go(func() { s.acceptControl(s.byPath) })
	}
	if s.reader != nil {
		s.tasks.Go(s.readLogs)
	}
	return s, nil
}

// makeShared makes the memory that programs and the supervisor share.
func (s *Server) makeShared() error {
	fd, err := unix.MemfdCreate("boxer", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	s.memory = os.NewFile(uintptr(fd), "boxer")
	if err := s.memory.Truncate(int64(sizeofShared)); err != nil {
		return err
	}
	mapped, err := unix.Mmap(fd, 0, sizeofShared, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	s.shared = sharedIn(mapped)
	s.shared.pid = uint32(os.Getpid())
	// A call that was kept still reads the memory after Close.
	runtime.AddCleanup(s, func(b []byte) { unix.Munmap(b) }, mapped)
	return nil
}

// setRules writes the rules into the shared memory, ordered by number.
func (s *Server) setRules() error {
	n := 0
	for nr := range uintptr(calls) {
		first := n
		for _, r := range s.cfg.Rules {
			if r.Nr != nr {
				continue
			}
			if n == maxRules || len(r.If) > conditions {
				return fmt.Errorf("rewrite: too many rules, or conditions of a rule for call %d", nr)
			}
			to := &s.shared.rules[n]
			to.errno, to.n = uint32(r.Errno), uint32(len(r.If))
			if r.Log {
				to.errno, s.shared.logs = ruleLog, 1
				s.shared.captures[nr] = packCaptures(r.Capture)
			}
			for i, c := range r.If {
				to.conditions[i] = condition{uint32(c.Arg), uint32(c.Op), c.Mask, c.Value}
			}
			n++
		}
		if n > first {
			s.shared.index[nr] = index{uint16(first), uint16(n - first)}
			s.shared.table[nr] |= hasRules
		}
	}
	for _, r := range s.cfg.Rules {
		if r.Nr >= calls {
			return fmt.Errorf("rewrite: a rule for call %d: numbers end at %d", r.Nr, calls-1)
		}
	}
	for _, nr := range s.target.mechanisms {
		s.shared.table[nr] |= mechanism
	}
	s.files.wanted = func(nr int) bool {
		return nr >= 0 && nr < calls &&
			s.shared.table[nr] != 0
	}
	return nil
}

// makeLoader makes the file that processes execute: the loader with the name of the
// control socket.
func (s *Server) makeLoader(name string) error {
	b := bytes.Clone(s.target.loader)
	at := bytes.Index(b, []byte(configMagic))
	if at < 0 || len(name) > maxName-1 {
		return errors.New("rewrite: the loader has no configuration")
	}
	binary.NativeEndian.PutUint16(b[at+configName-2:], unix.AF_UNIX)
	copy(b[at+configName+1:], name) // after the zero of an abstract name
	binary.NativeEndian.PutUint32(b[at+configLen:], uint32(2+1+len(name)))
	if s.byPath != nil {
		path := s.byPath.Addr().String()
		binary.NativeEndian.PutUint16(b[at+configPath-2:], unix.AF_UNIX)
		copy(b[at+configPath:], path)
		binary.NativeEndian.PutUint32(b[at+configPathLen:], uint32(2+len(path)+1))
	}
	var err error
	s.loader, err = memory("boxer-loader", b, true)
	return err
}

func (s *Server) warn(name string, sites []plan.Site) {
	for _, site := range sites {
		s.cfg.Logger.Warn("a system call cannot be taken: its instruction cannot be rewritten",
			"file", name, "address", fmt.Sprintf("%#x", site.Addr), "number", site.Number,
			"why", site.Why)
	}
}

// Loader returns the file to execute instead of the program that was passed to Prepare.
// Close closes the file.
func (s *Server) Loader() *os.File { return s.loader }

// Prepare sets the program that the next process runs in which the loader is executed by
// somebody else than a program under it. It fails as execve(2) would.
func (s *Server) Prepare(path string) error {
	open := func(path string) (*os.File, error) {
		if err := unix.Access(path, unix.X_OK); err != nil {
			return nil, err
		}
		return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	p, err := s.prepare(f, path, open)
	if err != nil {
		return err
	}
	s.warnIdentity(p, uint32(os.Geteuid()), uint32(os.Getegid()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		s.first.close() // its process never asked
	}
	s.first, s.firstTaken = p, make(chan struct{})
	return nil
}

// Taken returns a channel that is closed when a process has taken the program that was
// passed to Prepare last.
func (s *Server) Taken() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.firstTaken
}

// Close ends Serve and releases everything. Pending calls are never answered, so the
// processes of the tree must have ended before.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing.Store(true)
	s.mu.Unlock()
	atomic.AddUint32(&s.shared.doorbell, 1)
	linux.FutexWake(&s.shared.doorbell)
	s.logRang()
	err := s.listener.Close()
	if s.byPath != nil {
		s.byPath.Close()
	}
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
	s.release()
	return err
}

func (s *Server) release() {
	s.releasePath()
	if s.listener != nil {
		s.listener.Close()
	}
	if s.first != nil {
		s.first.close()
	}
	for _, p := range s.prepared {
		p.close()
	}
	for _, f := range []*os.File{s.loader, s.memory} {
		if f != nil {
			f.Close()
		}
	}
}
