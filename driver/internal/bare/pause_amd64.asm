# The program of the pause image for amd64, whose machine code pause.go holds.
# Without arguments it sleeps for ever; with a port and a number of seconds it ends with 0
# when something accepts connections on that port of localhost, and by SIGALRM when the time is up.
#
#   as pause_amd64.asm -o a.o && objcopy -O binary -j .text a.o a && xxd -p -c 32 a
.globl _start
.text
.intel_syntax noprefix
_start:
 cmp dword ptr [rsp], 3
 je wait
pause:
 mov eax, 34
 syscall
 jmp pause
wait:
 mov rsi, [rsp+24]
 call number
 mov edi, eax
 mov eax, 37
 syscall
 mov rsi, [rsp+16]
 call number
 xchg al, ah
 movzx r12d, ax
 shl r12d, 16
 sub rsp, 32
try:
 lea eax, [r12+2]
 mov [rsp], eax
 mov dword ptr [rsp+4], 0x0100007f
 mov edi, 2
 mov r13d, 16
 call dial
 lea eax, [r12+10]
 mov [rsp], eax
 xor eax, eax
 mov [rsp+4], eax
 mov [rsp+8], rax
 mov [rsp+24], rax
 mov dword ptr [rsp+16], eax
 mov dword ptr [rsp+20], 0x01000000
 mov edi, 10
 mov r13d, 28
 call dial
 xor eax, eax
 mov [rsp], rax
 mov dword ptr [rsp+8], 100000000
 mov [rsp+12], eax
 mov rdi, rsp
 xor esi, esi
 mov eax, 35
 syscall
 jmp try
dial:
 mov esi, 1
 xor edx, edx
 mov eax, 41
 syscall
 mov ebx, eax
 mov edi, eax
 lea rsi, [rsp+8]
 mov edx, r13d
 mov eax, 42
 syscall
 test eax, eax
 jne failed
 xor edi, edi
 mov eax, 231
 syscall
failed:
 mov edi, ebx
 mov eax, 3
 syscall
 ret
number:
 xor eax, eax
digit:
 movzx ecx, byte ptr [rsi]
 sub ecx, 48
 cmp ecx, 9
 ja end
 lea eax, [rax+rax*4]
 lea eax, [rcx+rax*2]
 inc rsi
 jmp digit
end:
 ret
