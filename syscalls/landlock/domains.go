package landlock

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Domains has the domain of each thread that has restricted itself. Its methods may be
// called from any goroutine.
//
// The kernel does not tell which domain a thread has. Children inherit it, also those
// whose parent has ended. So Domains marks a process with something that children inherit
// in the same way: a resource limit without effect, see [MarkLimit].
type Domains struct {
	tasks tasks
	inUse atomic.Bool // there is a mark

	mu     sync.Mutex
	marks  []marked            // by mark, from 1
	byHash map[[32]byte]uint64 // the marks of domains, by Domain.hash
}

// NewDomains returns Domains of the threads of this host, none of which is restricted.
func NewDomains() *Domains { return &Domains{tasks: procTasks{}} }

// Active reports whether any thread is restricted.
func (l *Domains) Active() bool { return l.inUse.Load() }

// MayRestrict reports whether landlock_restrict_self(2) permits a thread to restrict
// itself: it needs no_new_privs or CAP_SYS_ADMIN. It returns true if that cannot be found
// out.
func (l *Domains) MayRestrict(tid int) bool { return l.tasks.mayRestrict(tid) }

// A marked is the meaning of a mark: a domain that all threads have, or a mixedProcess.
type marked struct {
	domain *Domain
	mixed  *mixedProcess
}

// A mixedProcess is a process in which one thread restricted itself alone. Its children
// inherit the mark. It is not known which of its threads made a child or a later thread.
// These get the restrictions of all its threads: they may be denied too much, but never
// too little.
type mixedProcess struct {
	process task
	program uint64           // see tasks.program
	threads map[task]*Domain // the threads that restricted themselves
	others  map[task]bool    // the threads of the process at that time that did not
	before  *Domain          // the domain of others
	all     *Domain          // the restrictions of all threads
}

// maxMarks bounds the number of marks. Programs with the same restrictions have the same
// mark.
const maxMarks = 4096

var errManyMarks = errors.New("too many programs have restricted themselves in different ways")

// Of returns the domain of a thread, or nil if it is not restricted.
func (l *Domains) Of(tid int) (*Domain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ofLocked(tid)
}

func (l *Domains) ofLocked(tid int) (*Domain, error) {
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
	// After execve(2), the thread that called it has the number of the first thread.
	if program, err := l.tasks.program(tid); err != nil || program != m.program {
		return m.all, err
	}
	if own {
		return d, nil
	}
	return m.before, nil
}

// Restrict adds restrictions to the domain of a thread, or of all threads of its process.
func (l *Domains) Restrict(tid int, denied *Domain, all bool) error {
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
	l.inUse.Store(true)
	return nil
}

// markLocked returns the mark of a domain, which it makes if there is none.
func (l *Domains) markLocked(d *Domain) (uint64, error) {
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

// newMarkLocked returns a new mark with a meaning.
func (l *Domains) newMarkLocked(m marked) (uint64, error) {
	if len(l.marks) == maxMarks {
		return 0, errManyMarks
	}
	l.marks = append(l.marks, m)
	return uint64(len(l.marks)), nil
}

// mixLocked returns the mark of a process one of whose threads gets the domain d.
func (l *Domains) mixLocked(tid int, leader task, threads []task,
	d *Domain) (uint64, error) {
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
	var before *Domain
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
			threads: make(map[task]*Domain), others: make(map[task]bool)}
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
