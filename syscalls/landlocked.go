package syscalls

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// landlocked are the domains that threads of the node's programs have. Each process that
// has one has a mark, which leads to it.
type landlocked struct {
	tasks  tasks
	active atomic.Bool // there is a mark

	mu     sync.Mutex
	marks  []marked            // by mark, from 1
	byHash map[[32]byte]uint64 // the marks of domains
}

// newLandlocked returns one for the threads of this host.
func newLandlocked() *landlocked { return &landlocked{tasks: procTasks{}} }

// isActive reports whether any thread has restricted itself.
func (l *landlocked) isActive() bool { return l.active.Load() }

// mayRestrict reports whether landlock_restrict_self(2) lets a thread, or whether that is
// not known.
func (l *landlocked) mayRestrict(tid int) bool { return l.tasks.mayRestrict(tid) }

// marked is what a mark stands for: a domain that all threads have, or
type marked struct {
	domain *portDomain
	mixed  *mixedProcess
}

// A mixedProcess is one in which a thread has restricted itself while there were others.
// Its children have the mark as well: of those, and of threads that it has made since, it
// is not known which thread has made them. They have what any of its threads is denied:
// a restriction may be too wide then, but nothing slips out of it.
type mixedProcess struct {
	process task
	program uint64 // see tasks.program
	threads map[task]*portDomain
	others  map[task]bool // that were there, and had before
	before  *portDomain
	all     *portDomain
}

// A task is a thread: its number, and the time when it was started, since the number is
// given out again.
type task struct {
	tid     int
	started uint64 // clock ticks since the boot, proc(5)
}

// tasks is what the kernel knows of threads.
type tasks interface {
	mark(tid int) (uint64, error) // of the thread's process; 0: none
	setMark(tid int, mark uint64) error
	identify(tid int) (task, error)
	// process returns the threads of the thread's process, and which of them is the
	// first.
	process(tid int) (leader task, threads []task, err error)
	// program tells one program that a process runs from the next, after execve(2).
	program(tid int) (uint64, error)
	// mayRestrict reports whether landlock_restrict_self(2) lets the thread, or whether
	// that is not known.
	mayRestrict(tid int) bool
}

// maxMarks bounds the marks. Programs with the same restrictions have the same one.
const maxMarks = 4096

var errManyMarks = errors.New("too many programs have restricted themselves in different ways")

// of returns the domain of a thread, or nil.
func (l *landlocked) of(tid int) (*portDomain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ofLocked(tid)
}

func (l *landlocked) ofLocked(tid int) (*portDomain, error) {
	mark, err := l.tasks.mark(tid)
	if err != nil || mark == 0 || mark > uint64(len(l.marks)) {
		return nil, err
	}
	at := l.marks[mark-1]
	m := at.mixed
	if m == nil {
		return at.domain, nil
	}
	self, err := l.tasks.identify(tid)
	if err != nil {
		return nil, err
	}
	d, own := m.threads[self]
	if !own && !m.others[self] {
		return m.all, nil
	}
	// After execve(2) any of the threads goes on under the number of the first.
	if program, err := l.tasks.program(tid); err != nil || program != m.program {
		return m.all, err
	}
	if own {
		return d, nil
	}
	return m.before, nil
}

// restrict notes that a thread, or all of its process, is denied more from now on.
func (l *landlocked) restrict(tid int, denied *portDomain, all bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, err := l.ofLocked(tid)
	if err != nil {
		return err
	}
	d := old.and(denied)
	leader, threads, err := l.tasks.process(tid)
	if err != nil {
		return err
	}
	var mark uint64
	if all || len(threads) == 1 {
		mark, err = l.markLocked(d)
	} else {
		mark, err = l.mixLocked(tid, leader, threads, d)
	}
	if err != nil {
		return err
	}
	if err := l.tasks.setMark(tid, mark); err != nil {
		return fmt.Errorf("mark process of thread %d: %w", tid, err)
	}
	l.active.Store(true)
	return nil
}

// markLocked returns the mark of a domain.
func (l *landlocked) markLocked(d *portDomain) (uint64, error) {
	hash := d.hash()
	if mark, ok := l.byHash[hash]; ok {
		return mark, nil
	}
	mark, err := l.newMarkLocked(marked{domain: d})
	if err != nil {
		return 0, err
	}
	if l.byHash == nil {
		l.byHash = make(map[[32]byte]uint64)
	}
	l.byHash[hash] = mark
	return mark, nil
}

func (l *landlocked) newMarkLocked(m marked) (uint64, error) {
	if len(l.marks) == maxMarks {
		return 0, errManyMarks
	}
	l.marks = append(l.marks, m)
	return uint64(len(l.marks)), nil
}

// mixLocked returns the mark of a process one of whose threads has the domain d.
func (l *landlocked) mixLocked(tid int, leader task, threads []task,
	d *portDomain) (uint64, error) {
	self, err := l.tasks.identify(tid)
	if err != nil {
		return 0, err
	}
	program, err := l.tasks.program(tid)
	if err != nil {
		return 0, err
	}
	mark, err := l.tasks.mark(tid)
	if err != nil {
		return 0, err
	}
	var m *mixedProcess
	var before *portDomain
	if mark > 0 && mark <= uint64(len(l.marks)) {
		at := l.marks[mark-1]
		if m = at.mixed; m == nil {
			before = at.domain
		} else if m.process != leader || m.program != program {
			m, before = nil, m.all
		}
	}
	if m == nil {
		m = &mixedProcess{process: leader, program: program, before: before, all: before,
			threads: make(map[task]*portDomain), others: make(map[task]bool)}
		for _, t := range threads {
			m.others[t] = true
		}
		if mark, err = l.newMarkLocked(marked{mixed: m}); err != nil {
			return 0, err
		}
	}
	delete(m.others, self)
	m.threads[self] = d
	m.all = m.all.and(d)
	return mark, nil
}

// procTasks are the tasks of this host.
type procTasks struct{}

// Marks are at the upper end of what a resource limit may be, below RLIM_INFINITY.
const (
	markLimit = 10 // RLIMIT_LOCKS of include/uapi/asm-generic/resource.h
	noLimit   = unix.RLIM_INFINITY
)

func (procTasks) mark(tid int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Prlimit(tid, markLimit, nil, &limit)
	if err == unix.EPERM { // another user's, by now
		limit.Cur, err = readLimit(tid)
	}
	if mark := noLimit - limit.Cur; err == nil && mark <= maxMarks {
		return mark, nil
	}
	return 0, err
}

func (procTasks) setMark(tid int, mark uint64) error {
	limit := noLimit - mark
	return unix.Prlimit(tid, markLimit, &unix.Rlimit{Cur: limit, Max: limit}, nil)
}
