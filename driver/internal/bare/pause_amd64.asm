# The program of the pause image for amd64, whose machine code pause.go holds.
# Without arguments it sleeps for ever; with a port and a number of seconds it ends with 0
# when something accepts connections on that port of localhost, and by SIGALRM when the time is up.
# With a port alone it connects there and passes on what goes to and fro: see package relay.
#
#   as pause_amd64.asm -o a.o && objcopy -O binary -j .text a.o a && xxd -p -c 48 a
.globl _start
.text
.intel_syntax noprefix
_start:
 mov eax, [rsp]
 cmp eax, 2
 je relay
 cmp eax, 3
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
 sub rsp, 16
try:
 call connect
 je done
 xor eax, eax
 mov [rsp], rax
 mov dword ptr [rsp+8], 100000000
 mov [rsp+12], eax
 mov rdi, rsp
 xor esi, esi
 mov eax, 35
 syscall
 jmp try
done:
 xor edi, edi
exit:
 mov eax, 231
 syscall

# relay: the main thread moves what comes from stdin, the other what comes from the socket, ebx. Each has
# its buffer at rsp; at r15 are two words that say which of them will move nothing more.
relay:
 mov rsi, [rsp+16]
 call number
 sub rsp, 0x30000
 lea r15, [rsp+0x2f000]
 call connect
 neg eax
 mov [rsp], eax
 mov ebp, eax
 mov rsi, rsp
 mov edi, 1
 mov edx, 1
 mov eax, 1
 call again
 mov edi, ebp
 test ebp, ebp
 jne exit
 xor edi, edi
 mov [r15], rdi
 mov edi, 0x50f00
 lea rsi, [rsp+0x18000]
 xor edx, edx
 xor r10d, r10d
 xor r8d, r8d
 mov eax, 56
 syscall
 test eax, eax
 js broken
 je receive
send:
 xor r13d, r13d
header:
 lea rsi, [rsp+r13]
 mov edx, 4
 sub edx, r13d
 call input
 add r13d, eax
 cmp r13d, 4
 jne header
 mov r14d, [rsp]
 cmp r14d, -1
 je done
 test r14d, r14d
 je half
data:
 mov rsi, rsp
 mov edx, 0x10000
 cmp r14d, edx
 cmovb edx, r14d
 call input
 sub r14d, eax
 mov r13d, eax
 mov r12d, 44
 mov edi, ebx
 call output
 jg moved
 mov eax, 1
 xchg [r15], eax
 cmp dword ptr [r15+4], 0
 jne done
moved:
 test r14d, r14d
 jne data
 jmp send
half:
 mov edi, ebx
 mov esi, 1
 mov eax, 48
 syscall
 mov eax, 1
 xchg [r15], eax
 cmp dword ptr [r15+4], 0
 jne done
 jmp send
receive:
 mov edi, ebx
 lea rsi, [rsp+4]
 mov edx, 0x10000
 xor eax, eax
 call again
 js broken
 mov [rsp], eax
 mov r14d, eax
 lea r13d, [rax+4]
 mov r12d, 1
 mov edi, 1
 call output
 jle broken
 test r14d, r14d
 jne receive
 mov eax, 1
 xchg [r15+4], eax
 cmp dword ptr [r15], 0
 jne done
 xor edi, edi
 mov eax, 60
 syscall
broken:
 mov edi, 1
 jmp exit

# input reads edx bytes from stdin to rsi; at the end, or when that breaks, nobody is there any more.
input:
 xor edi, edi
 xor eax, eax
 call again
 jle broken
 ret
# output writes r13d bytes from the buffer to edi, by the call r12d; the flags say greater when that went well.
output:
 lea rsi, [rsp+8]
more:
 mov edx, r13d
 mov r10d, 0x4000
 xor r8d, r8d
 mov eax, r12d
 call again
 jle failed
 add rsi, rax
 sub r13d, eax
 jne more
 test eax, eax
failed:
 ret
# again makes the call eax, once more if a signal came between; the flags are those of its result.
again:
 mov r9d, eax
repeat:
 mov eax, r9d
 syscall
 cmp eax, -4
 je repeat
 test eax, eax
 ret
# connect connects ebx to the port r12d, by the one address or the other; eax, and the flags, are 0 or what the first said.
connect:
 sub rsp, 40
 lea eax, [r12+2]
 mov [rsp], eax
 mov dword ptr [rsp+4], 0x0100007f
 mov edi, 2
 mov r13d, 16
 call dial
 je connected
 mov ebp, eax
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
 cmovne eax, ebp
connected:
 add rsp, 40
 test eax, eax
 ret
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
 mov r14d, eax
 test eax, eax
 je made
 mov edi, ebx
 mov eax, 3
 syscall
made:
 mov eax, r14d
 test eax, eax
 ret
# number reads a number at rsi: eax has it, and r12d as the upper half of an address has a port.
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
 mov ecx, eax
 xchg cl, ch
 movzx r12d, cx
 shl r12d, 16
 ret
