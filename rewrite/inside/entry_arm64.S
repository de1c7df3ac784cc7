// How the kernel comes in, and how stubs do (rewrite/plan).
	.text
	.globl _start
	.hidden _start
_start:	mov	x29, #0
	mov	x30, #0
	mov	x0, sp
	bl	start
	brk	#1

// enter(sp, entry): go on as a program that the kernel has just executed.
	.globl enter
	.hidden enter
enter:	mov	sp, x0
	mov	x16, x1
	mov	x0, #0
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	mov	x29, #0
	mov	x30, #0
	br	x16

// A stub comes here: x17 is where it goes on, its own x16 and x17 are on the stack, all else is as
// before the system-call instruction. The hook goes back to the stub, which then lets the kernel do
// the call, or 16 bytes behind that, with a result in x0.
	.globl hook_entry
	.hidden hook_entry
	.type hook_entry, @function
hook_entry:
	sub	sp, sp, #176
	str	x8, [sp]
	stp	x0, x1, [sp, #8]
	stp	x2, x3, [sp, #24]
	stp	x4, x5, [sp, #40]
	stp	x6, x7, [sp, #56]
	stp	x9, x10, [sp, #72]
	stp	x11, x12, [sp, #88]
	stp	x13, x14, [sp, #104]
	stp	x15, x18, [sp, #120]
	stp	x29, x30, [sp, #136]
	mrs	x16, nzcv
	stp	x16, x17, [sp, #152]
	str	x8, [sp, #168]
	mov	x0, sp
	bl	hook
	ldp	x16, x17, [sp, #152]
	msr	nzcv, x16
	mov	w16, w0
	ldp	x0, x1, [sp, #8]
	ldp	x2, x3, [sp, #24]
	ldp	x4, x5, [sp, #40]
	ldp	x6, x7, [sp, #56]
	ldp	x9, x10, [sp, #72]
	ldp	x11, x12, [sp, #88]
	ldp	x13, x14, [sp, #104]
	ldp	x15, x18, [sp, #120]
	ldp	x29, x30, [sp, #136]
	ldr	x8, [sp, #168]
	cbnz	w16, 1f
	ldr	x0, [sp]
	add	x17, x17, #16
1:	add	sp, sp, #176
	br	x17
	.size hook_entry, .-hook_entry

// on_stack(stack, f, arg, slot) calls f(arg, slot) on another stack and returns what it returns.
	.globl on_stack
	.hidden on_stack
on_stack:
	stp	x29, x30, [sp, #-16]!
	mov	x29, sp
	mov	x9, x1
	mov	sp, x0
	mov	x0, x2
	mov	x1, x3
	blr	x9
	mov	sp, x29
	ldp	x29, x30, [sp], #16
	ret
	.section .note.GNU-stack,"",@progbits
