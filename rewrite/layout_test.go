package rewrite

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"
)

// TestLayout compares the structures here with those of inside/inside.h.
func TestLayout(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	inside, err := filepath.Abs("inside")
	if err != nil {
		t.Fatal(err)
	}
	source := `#include <stdio.h>
#include "inside.h"
#define O(s, f) printf("%zu ", offsetof(struct s, f))
#define S(s) printf("%zu\n", sizeof(struct s))
int main() {
	O(shared, pending), O(shared, pid), O(shared, cells), O(shared, logging), O(shared, logs), O(shared, index), O(shared, captures), O(shared, rules), O(shared, table), O(shared, slots), O(shared, named), S(shared);
	O(named, own_length), O(named, cookie), O(named, far_name), S(named);
	O(log, nr), O(log, data), S(log); O(logged, tid), O(logged, args), O(logged, result), O(logged, begin), O(logged, end), O(logged, pieces), S(logged);
	O(logged_piece, length), O(logged_piece, after), S(logged_piece);
	O(slot, tid), O(slot, flags), O(slot, nr), O(slot, args), O(slot, result), O(slot, mask), O(slot, self), O(slot, data), S(slot);
	O(condition, mask), S(condition); O(rule, conditions), S(rule);
	O(request, a), S(request);
	O(image, nheaders), O(image, segments), S(image);
	O(load, interpreter), O(load, interpreted), O(load, args), O(load, keep_arg0), O(load, text), printf("\n");
	O(config, name), O(config, len), O(config, path), O(config, path_len), printf("\n");
	printf("%d %d %d %d %d %d %d\n", IDLE, PENDING, ANSWERING, RETURN, CONTINUE, RECEIVE, OPERATE);
	printf("%d %d %d %d %d\n", HELLO, EXECUTE, FETCH, COPY, OPEN);
}
`
	c := filepath.Join(dir, "layout.c")
	if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "layout")
	if out, err := exec.Command("cc", "-I", inside, "-o", bin,
		c).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	var s shared
	var l slot
	var r rule
	var q request
	var m image
	var h loadHead
	want := fmt.Sprintf("%d %d %d %d %d %d %d %d %d %d %d %d\n", unsafe.Offsetof(s.pending),
		unsafe.Offsetof(s.pid), unsafe.Offsetof(s.cells), unsafe.Offsetof(s.logging),
		unsafe.Offsetof(s.logs), unsafe.Offsetof(s.index), unsafe.Offsetof(s.captures),
		unsafe.Offsetof(s.rules),
		unsafe.Offsetof(s.table), unsafe.Offsetof(s.slots), unsafe.Offsetof(s.named),
		unsafe.Sizeof(s)) +
		fmt.Sprintf("%d %d %d %d\n", unsafe.Offsetof(named{}.ownLen),
			unsafe.Offsetof(named{}.cookie), unsafe.Offsetof(named{}.farName),
			unsafe.Sizeof(named{})) +
		fmt.Sprintf("%d %d %d\n", unsafe.Offsetof(callLog{}.nr),
			unsafe.Offsetof(callLog{}.data), unsafe.Sizeof(callLog{})) +
		// what parseLogged reads
		fmt.Sprintf("4 16 64 72 80 88 %d\n8 12 %d\n", sizeofLoggedHead,
			sizeofLoggedPiece) +
		fmt.Sprintf("%d %d %d %d %d %d %d %d %d\n", unsafe.Offsetof(l.tid),
			unsafe.Offsetof(l.flags), unsafe.Offsetof(l.nr),
			unsafe.Offsetof(l.args), unsafe.Offsetof(l.result), unsafe.Offsetof(l.mask),
			unsafe.Offsetof(l.self), unsafe.Offsetof(l.data), unsafe.Sizeof(l)) +
		fmt.Sprintf("%d %d\n%d %d\n", unsafe.Offsetof(condition{}.mask),
			unsafe.Sizeof(condition{}), unsafe.Offsetof(r.conditions), unsafe.Sizeof(r)) +
		fmt.Sprintf("%d %d\n", unsafe.Offsetof(q.A), unsafe.Sizeof(q)) +
		fmt.Sprintf("%d %d %d\n", unsafe.Offsetof(m.NHeaders),
			unsafe.Offsetof(m.Segments), unsafe.Sizeof(m)) +
		fmt.Sprintf("%d %d %d %d %d \n", unsafe.Offsetof(h.Interpreter),
			unsafe.Offsetof(h.Interpreted), unsafe.Offsetof(h.Args),
			unsafe.Offsetof(h.KeepArg0), unsafe.Sizeof(h)) +
		fmt.Sprintf("%d %d %d %d \n", configName, configLen, configPath, configPathLen) +
		fmt.Sprintln(stateIdle, statePending, stateAnswering, stateReturn, stateContinue,
			stateReceive, stateOperate) +
		fmt.Sprintln(requestHello, requestExecute, requestFetch, requestCopy, verdictOpen)
	if string(got) != want {
		t.Errorf("inside.h has\n%sthis package\n%s", got, want)
	}
}
