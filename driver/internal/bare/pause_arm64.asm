// The program of the pause image for arm64: see pause_amd64.asm.
//
//   aarch64-linux-gnu-as pause_arm64.asm -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o a && xxd -p -c 32 a
.globl _start
.text
_start:
 ldr x9, [sp]
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
 rev16 w20, w0
 lsl w20, w20, 16
try:
 add w9, w20, 2
 movz w10, 0x7f
 movk w10, 0x0100, lsl 16
 stp w9, w10, [sp]
 mov x0, 2
 mov x21, 16
 bl dial
 add w9, w20, 10
 stp w9, wzr, [sp]
 str xzr, [sp, 8]
 movz x10, 0x0100, lsl 48
 stp x10, xzr, [sp, 16]
 mov x0, 10
 mov x21, 28
 bl dial
 movz x10, 0xe100
 movk x10, 0x05f5, lsl 16
 stp xzr, x10, [sp]
 mov x0, sp
 mov x1, 0
 mov x8, 101
 svc 0
 b try
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
 cbnz w0, failed
 mov x8, 94
 svc 0
failed:
 mov x0, x22
 mov x8, 57
 svc 0
 ret
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
 ret
