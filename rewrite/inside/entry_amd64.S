// How the kernel comes in, and how stubs do (rewrite/plan).
	.text
	.globl _start
	.hidden _start
_start:	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	start
	ud2

// enter(sp, entry): go on as a program that the kernel has just executed.
	.globl enter
	.hidden enter
enter:	mov	%rdi, %rsp
	mov	%rsi, %rcx
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	jmp	*%rcx

// A stub comes here: r11 is the address of its system-call instruction, all else is as before
// that instruction. 128 bytes below the stack pointer are the program's. The hook returns to the
// instruction, or behind it with a result in rax.
	.globl hook_entry
	.hidden hook_entry
	.type hook_entry, @function
hook_entry:
	.cfi_startproc
	lea	-128(%rsp), %rsp
	.cfi_def_cfa_offset 136
	push	%r11
	pushfq
	push	%rbp
	mov	%rsp, %rbp
	push	%r9
	push	%r8
	push	%r10
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rax
	mov	%rsp, %rdi
	and	$-16, %rsp
	cld
	call	hook
	mov	%eax, %ecx
	lea	-56(%rbp), %rsp
	pop	%rax
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%r10
	pop	%r8
	pop	%r9
	pop	%rbp
	test	%ecx, %ecx
	jnz	1f
	addq	$2, 8(%rsp)
1:	popfq
	pop	%r11
	lea	128(%rsp), %rsp
	jmp	*%r11
	.cfi_endproc
	.size hook_entry, .-hook_entry
// on_stack(stack, f, arg, slot) calls f(arg, slot) on another stack and returns what it returns.
	.globl on_stack
	.hidden on_stack
on_stack:
	push	%rbp
	mov	%rsp, %rbp
	mov	%rdi, %rsp
	mov	%rsi, %rax
	mov	%rdx, %rdi
	mov	%rcx, %rsi
	call	*%rax
	mov	%rbp, %rsp
	pop	%rbp
	ret
	.section .note.GNU-stack,"",@progbits
