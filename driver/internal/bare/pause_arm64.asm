// The program of the pause image for arm64: see pause_amd64.asm.
//
//   aarch64-linux-gnu-as pause_arm64.asm -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o a && xxd -p -c 48 a
.globl _start
.text
_start:
 ldr x9, [sp]
 cmp x9, 2
 b.eq relay
 cmp x9, 3
 b.eq wait
pause:
 mov x0, 0
 mov x1, 0
 mov x2, 0
 mov x3, 0
 mov x8, 73
 svc 0
 b pause
wait:
 ldr x1, [sp, 24]
 bl number
 // setitimer(ITIMER_REAL, {0,0,sec,0}, 0)
 ldr x19, [sp, 16]
 sub sp, sp, 32
 stp xzr, xzr, [sp]
 stp x0, xzr, [sp, 16]
 mov x0, 0
 mov x1, sp
 mov x2, 0
 mov x8, 103
 svc 0
 mov x1, x19
 bl number
try:
 bl connect
 cbz w0, done
 movz x10, 0xe100
 movk x10, 0x05f5, lsl 16
 stp xzr, x10, [sp]
 mov x0, sp
 mov x1, 0
 mov x8, 101
 svc 0
 b try
done:
 mov x0, 0
exit:
 mov x8, 94
 svc 0

// relay: the main thread moves what comes from stdin, the other what comes from the socket, w22. Each has
// its buffer at sp; at x23 are two words that say which of them will move nothing more.
relay:
 ldr x1, [sp, 16]
 bl number
 sub sp, sp, 0x30, lsl 12
 add x23, sp, 0x2f, lsl 12
 bl connect
 neg w24, w0
 str w24, [sp]
 mov x0, 1
 mov x1, sp
 mov x2, 1
 mov x8, 64
 bl again
 mov w0, w24
 cbnz w0, exit
 str xzr, [x23]
 movz x0, 0xf00
 movk x0, 5, lsl 16
 add x1, sp, 0x18, lsl 12
 mov x2, 0
 mov x3, 0
 mov x4, 0
 mov x8, 220
 svc 0
 tbnz w0, 31, broken
 cbz w0, receive
send:
 mov x24, 0
header:
 mov x1, sp
 add x1, x1, x24
 mov x2, 4
 sub x2, x2, x24
 bl input
 add w24, w24, w0
 cmp w24, 4
 b.ne header
 ldr w25, [sp]
 cmn w25, 1
 b.eq done
 cbz w25, half
data:
 mov x1, sp
 mov w2, 0x10000
 cmp w25, w2
 csel w2, w25, w2, lo
 bl input
 sub w25, w25, w0
 mov w24, w0
 mov w26, w22
 mov x27, 206
 bl output
 b.gt moved
 bl ended
moved:
 cbnz w25, data
 b send
half:
 mov w0, w22
 mov x1, 1
 mov x8, 210
 svc 0
 bl ended
 b send
receive:
 mov w0, w22
 add x1, sp, 4
 mov x2, 0x10000
 mov x8, 63
 bl again
 tbnz w0, 31, broken
 str w0, [sp]
 mov w25, w0
 add w24, w0, 4
 mov w26, 1
 mov x27, 64
 bl output
 b.le broken
 cbnz w25, receive
 mov w9, 1
 str w9, [x23, 4]
 dmb ish
 ldr w9, [x23]
 cbnz w9, done
 mov x0, 0
 mov x8, 93
 svc 0
broken:
 mov x0, 1
 b exit

// ended notes that nothing more will be sent.
ended:
 mov w9, 1
 str w9, [x23]
 dmb ish
 ldr w9, [x23, 4]
 cbnz w9, done
 ret
// input reads x2 bytes from stdin to x1; at the end, or when that breaks, nobody is there any more.
input:
 mov x28, x30
 mov x0, 0
 mov x8, 63
 bl again
 b.le broken
 ret x28
// output writes w24 bytes from the buffer to w26, by the call x27; the flags say greater when that went well.
output:
 mov x28, x30
 mov x1, sp
more:
 mov w0, w26
 mov w2, w24
 mov x3, 0x4000
 mov x4, 0
 mov x8, x27
 bl again
 b.le failed
 add x1, x1, x0
 subs w24, w24, w0
 b.ne more
 cmp w0, 0
failed:
 ret x28
// again makes the call x8, once more if a signal came between; the flags are those of its result.
again:
 mov x9, x0
repeat:
 mov x0, x9
 svc 0
 cmn w0, 4
 b.eq repeat
 cmp w0, 0
 ret
// connect connects w22 to the port w20, by the one address or the other; w0 is 0 or what the first said.
connect:
 mov x28, x30
 sub sp, sp, 32
 add w9, w20, 2
 movz w10, 0x7f
 movk w10, 0x0100, lsl 16
 stp w9, w10, [sp]
 mov x0, 2
 mov x21, 16
 bl dial
 cbz w0, connected
 mov w24, w0
 add w9, w20, 10
 stp w9, wzr, [sp]
 str xzr, [sp, 8]
 movz x10, 0x0100, lsl 48
 stp x10, xzr, [sp, 16]
 mov x0, 10
 mov x21, 28
 bl dial
 cmp w0, 0
 csel w0, w24, w0, ne
connected:
 add sp, sp, 32
 ret x28
dial:
 mov x1, 1
 mov x2, 0
 mov x8, 198
 svc 0
 mov x22, x0
 mov x1, sp
 mov x2, x21
 mov x8, 203
 svc 0
 cbz w0, made
 mov w25, w0
 mov x0, x22
 mov x8, 57
 svc 0
 mov w0, w25
made:
 ret
// number reads a number at x1: x0 has it, and w20 as the upper half of an address has a port.
number:
 mov x0, 0
 mov x10, 10
digit:
 ldrb w9, [x1], 1
 sub w9, w9, 48
 cmp w9, 9
 b.hi end
 madd x0, x0, x10, x9
 b digit
end:
 rev16 w20, w0
 lsl w20, w20, 16
 ret
