// What the part of boxer inside a program shares with the supervisor, package rewrite. All of it
// is freestanding: no library, no allocation, no thread-local storage, no floating point.
#pragma once
#include <stddef.h>
#include <stdint.h>
#pragma GCC visibility push(hidden) // nothing is reached by way of a table that needs relocation
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define SLOTS 4096 // threads of one program's tree that may call at once
#define STARTS 1024 // places in the slots where a search begins
#define CALLS 512  // numbers of system calls that rules can be about
#define CONDITIONS 4
#define RULES 540

// A condition on one argument of a call, as in package syscalls.
struct condition {
	u32 arg, op;
	u64 mask, value;
};
enum { NOT_EQUAL, AT_LEAST, MASKED_EQUAL, PROC_NET };

// A rule tells which calls are the supervisor's: all conditions hold. With an errno the call
// fails at once, and with LOG the kernel does it, and the supervisor is told of it later.
#define LOG 0xffff
struct rule {
	u32 error, n;
	struct condition conditions[CONDITIONS];
};

// What the table says of a call's number.
enum { HAS_RULES = 1, MECHANISM = 2, NAMES = 4 };

// States of a call, in the low bits of its slot's word. The rest of the word is the call's
// sequence number, which no other call of the slot has.
enum {
	IDLE,      // there is none
	WRITING,   // the program writes its arguments
	PENDING,   // the supervisor has to answer
	ANSWERING, // the supervisor answers: nobody else changes the word
	RETURN,    // the call returns the result
	CONTINUE,  // the kernel does the call
	RECEIVE,   // the program fetches a descriptor
	OPERATE,   // the program does something for the supervisor, and then it is ANSWERING
	STATE = 7,
	SEQUENCE = 8, // 1 in a sequence number
};

// Arguments of RECEIVE: the descriptor's number in the supervisor, the file's inode number, and
// the cell that tells the supervisor what became of it.
enum { FROM, INODE, CELL };

// Arguments of OPERATE: what to do, an address and a length, or a descriptor. What is read or written is in the
// slot's data.
enum { OPERATION, ADDRESS, LENGTH };
enum { READ_MEMORY, WRITE_MEMORY, SEND_FD };

struct cell {
	u32 done;
	s32 value; // a descriptor's number, or an errno below 0
};
#define CELLS 256

// A slot is one thread's. A signal handler of the thread may use it for a call of its own while
// another call waits; that one then begins anew, as it does with a filter.
struct slot {
	u32 word; // futex
	u32 tid;
	u32 last; // sequence number that was given out last
	u32 flags; // of RECEIVE: O_CLOEXEC
	u64 nr, args[6]; // of RECEIVE and OPERATE: see there
	s64 result;
	u64 mask; // of signals, while they are blocked
	u32 execs; // the supervisor counts the programs that the thread has executed
	u32 unused;
	u64 self; // where the slot is in the process that calls
	u8 scratch[1024 - 104]; // buffers, used only while signals are blocked
	u8 stack[3072] __attribute__((aligned(16))); // likewise: the program's own may be short
	u8 data[4096]; // of OPERATE
};
_Static_assert(sizeof(struct slot) == 8192, "slot");

#define NAMED 4096 // sockets whose names are known
#define NAME 28    // a struct sockaddr_in6; a struct sockaddr_in is shorter

// What the supervisor would answer to getsockname(2) and getpeername(2) of a socket while the kernel's own
// answers are certain ones. The lengths are 0 for a peer that the kernel does not have, and for an answer that
// is not known.
struct named {
	u32 version; // odd while the supervisor writes
	u8 own_length, far_length, own_name_length, far_name_length;
	u64 cookie; // SO_COOKIE of the socket
	u8 own[NAME], far[NAME]; // the kernel's
	u8 own_name[NAME], far_name[NAME];
};
_Static_assert(sizeof(struct named) == 128, "named");

// The memory that the supervisor and all processes of the tree have in common.
struct shared {
	u32 doorbell; // futex: counts requests
	u32 asleep;   // the supervisor waits for it
	u64 pending[SLOTS / 64]; // which slots have a request
	u32 pid;                 // of the supervisor
	u32 payload;             // how much of what calls send and receive is logged, in bytes
	struct cell cells[CELLS];
	u64 logging[SLOTS / 64]; // which slots have something in their logs, or have had
	u32 logs;                // the logs are there
	u8 fill1[0x1000 - 20 - 2 * SLOTS / 8 - CELLS * 8];
	struct {
		u16 first, n;
	} index[CALLS];
	u32 captures[CALLS]; // of logged calls: one byte for each argument that points to memory
	u8 fill2[0x2000 - 0x1000 - CALLS * 8];
	struct rule rules[RULES];
	u8 fill3[0x10000 - 0x2000 - RULES * sizeof(struct rule)];
	u8 table[0x10000];
	struct slot slots[SLOTS];
	struct named named[NAMED]; // by cookie
};

// The supervisor writes this into the file that the program's process executes.
struct config {
	char magic[16];
	u16 family;
	char name[30]; // of the supervisor's abstract Unix socket
	u32 len;       // of family and name
	u32 unused;
	u16 path_family;
	char path[106]; // of a socket for processes in other network namespaces, which have other names
	u32 path_len;   // of family and path; 0: there is none
};

// Requests over the control socket.
enum {
	HELLO = 1, // what is this process to run? answered with struct load
	PLAN,      // how to rewrite the file that comes along; answered with the plan's file
	EXECUTE,   // may the file that comes along be executed? answered with struct verdict
	OPENED,    // the file that the verdict asked for, or an error
	CANCEL,    // the execve that was allowed has failed
	FETCH,     // the descriptor for a slot's call; answered with it
	UNREADABLE, // a file that may be executed cannot be read, and so not be followed; not answered
	COPY,      // the descriptor that the supervisor has asked for comes along
};
struct request {
	u32 kind, tid;
	s64 a, b;
};
struct verdict {
	s32 error; // 0: execute the file that comes along; OPEN: open the path
	u32 length;
	char path[4096];
};
enum { OPEN = 1 };

#define SEGMENTS 16
// An image is a file as it is to be mapped. Addresses are the file's.
struct image {
	u64 entry, headers, low, high, align;
	u32 nheaders, dynamic, n, unused;
	struct {
		u64 addr, offset, filesz, memsz;
		u32 prot, unused;
	} segments[SEGMENTS];
};

// What a process is to run. Descriptors come along: shared memory, program, its plan, and the
// interpreter and its plan if there is one.
struct load {
	struct image program, interpreter;
	u32 interpreted;  // there is an interpreter (PT_INTERP)
	u32 nargs;        // arguments that take the place of the first one
	u32 path, exe;    // offsets in text: of what was executed, and of what /proc/self/exe names
	u32 args, length; // of nargs strings, and of text
	u32 keep_arg0;    // the program's own first argument stays
	u32 unused;
	char text[8192];
};

struct plan_head {
	char magic[8];
	u32 segments, sites, relocs, code;
};
struct plan_segment {
	u64 offset, size, addr;
};
struct plan_site {
	u64 addr;
	u32 len, stub;
};
struct plan_reloc {
	u64 target;
	u32 offset, end;
	u64 kind;
};
enum { REL32, BRANCH26 };

// A call as the hook finds it, on the program's stack.
struct frame {
	u64 nr; // and the result
	u64 args[6];
};
enum { DONE, PASS };

// Which memory of a logged call is stored: the argument's number, and what it points to.
enum {
	CAPTURE_ARG = 7, // mask
	STRING = 8, // ends with 0
	SENT = 16, // as many bytes as the next argument says, or payload
	RECEIVED = 24, // as many bytes as the result says, or payload
	TIME = 32, // struct timespec
	CAPTURE_KIND = 56, // mask
};
enum { STRING_ROOM = 512 };

// A log is one slot's: calls that the kernel has done, from tail to head, which count bytes. It follows struct shared,
// where shared.logs is set.
struct log {
	u64 head; // the thread's
	u64 tail; // the supervisor's
	u64 since; // when the call began that is being done, by CLOCK_MONOTONIC in ns; 0: none is
	u64 nr, args[6]; // of that
	u8 fill[128 - 80];
	u8 data[0x10000 - 128];
};
struct logged { // pieces of memory follow; an entry without a thread is to be skipped
	u32 size, tid;
	u64 nr, args[6];
	s64 result;
	u64 begin, end;
	u32 pieces, unused;
};
struct logged_piece { // the bytes follow, up to a multiple of 8
	u64 addr;
	u32 length, after; // after: as it was after the call
};

// What each process has for itself.
struct globals {
	struct shared *shared;
	struct log *logs;
	u64 page;
	u32 exe_length;
	char exe[4096]; // what /proc/self/exe names
};
extern struct globals globals;
extern struct config config;
extern void hook_entry(void);

int hook(struct frame *f);
int mechanism(struct frame *f);
int logged(struct frame *f);
int name_of(struct frame *f, struct slot *s);
s64 on_stack(void *stack, s64 (*f)(void *, struct slot *), void *arg, struct slot *s);
void blocked(struct slot *s);
void unblocked(struct slot *s);
struct slot *slot_of(u32 tid);
s64 receive(struct slot *s, u32 word);
void operate(struct slot *s, u32 word);
void ring(struct slot *s);
s64 copy(u64 to, u64 from, u64 n);
int readable(u64 addr);

struct exchange { // buffers of one exchange over the control socket
	struct request request;
	u64 iov[4];
	u64 header[7];
	u64 control[6];
};
s64 control_open(void);
s64 control_send(s64 sock, struct exchange *x, int fd, const void *more, u64 n);
s64 control_receive(s64 sock, struct exchange *x, void *to, u64 n, int *fds, int nfds, int flags);
void flush(u64 from, u64 to);
s64 apply(const struct plan_head *p, u64 addr, u64 offset, u64 length);
s64 rewrite_mapping(struct slot *s, int fd, u64 addr, u64 length, u64 offset);

#include "arch.h"
