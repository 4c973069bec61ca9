// The program that CopyOut runs beside a container: it writes what a file or directory is, and what is in it, to its
// standard output. Podman's own archives give every file the same owner.
//
//   /walk ROOT PATH
//
// It changes its root to ROOT, and walks PATH from there. It writes records, in the byte order of the machine (all that are
// known are little-endian): struct record, the name relative to PATH (empty for PATH itself), the target of a symbolic link,
// and the content of a regular file, exactly as long as the record says. The last record is of kind END or FAILED.
//
// It needs no libc. The script "build" makes ../walkcode.go of it.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

enum { ENTRY = 0x57484152, END, FAILED }; // FAILED: size is the error number, the name what failed

struct record {
	u32 kind, mode, uid, gid;
	u64 size, dev, inode, device;
	s64 seconds;
	u32 nanoseconds, links, name, target; // the last two are lengths
};

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, CHDIR = 80, CHROOT = 161, GETDENTS = 217, MMAP = 9, MUNMAP = 11, MREMAP = 25, EXIT = 231, OPENAT = 257, FSTATAT = 262, READLINKAT = 267 };
enum { DIRECTORY = 0200000, NOFOLLOW = 0400000 };

struct stat {
	u64 dev, inode, links;
	u32 mode, uid, gid, pad;
	u64 device;
	s64 size, blksize, blocks;
	u64 atime, ansec, mtime, mnsec, ctime, cnsec;
	s64 unused[3];
};

static s64 sys6(s64 n, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
	register s64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	s64 r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}

__asm__(".section .start,\"ax\"\n.globl _start\n_start:\n mov %rsp,%rdi\n and $-16,%rsp\n call enter\n");
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, CHDIR = 49, CHROOT = 51, GETDENTS = 61, MMAP = 222, MUNMAP = 215, MREMAP = 216, EXIT = 94, OPENAT = 56, FSTATAT = 79, READLINKAT = 78 };
enum { DIRECTORY = 040000, NOFOLLOW = 0100000 };

struct stat {
	u64 dev, inode;
	u32 mode, links, uid, gid;
	u64 device, pad;
	s64 size;
	u32 blksize, pad2;
	s64 blocks;
	u64 atime, ansec, mtime, mnsec, ctime, cnsec;
	u32 unused[2];
};

static s64 sys6(s64 n, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
	register s64 x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
	register s64 x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

__asm__(".section .start,\"ax\"\n.globl _start\n_start:\n mov x0,sp\n bl enter\n");
#endif

static s64 sys(s64 n, s64 a, s64 b, s64 c, s64 d) { return sys6(n, a, b, c, d, 0, 0); }

enum { READABLE = 1, WRITABLE = 2, PRIVATE = 2, ANONYMOUS = 32, MAYMOVE = 1 };
enum { AT_FDCWD = -100, SYMLINK_NOFOLLOW = 0x100, EMPTY_PATH = 0x1000, CLOEXEC = 02000000, NONBLOCK = 04000 };
enum { ENOENT = 2, EINTR = 4, ENOTDIR = 20, ENAMETOOLONG = 36, ELOOP = 40 };
enum { S_IFMT = 0170000, S_IFREG = 0100000, S_IFDIR = 0040000, S_IFLNK = 0120000, S_IFSOCK = 0140000 };

struct walk {
	u32 used, length; // of out, of path
	u8 out[1 << 16];
	char path[1 << 15];
};

struct dirent {
	u64 inode, offset;
	u16 length;
	u8 type;
	char name[];
};

// The compiler makes calls of these.
void *memcpy(void *to, const void *from, u64 n)
{
	for (u64 i = 0; i < n; i++)
		((volatile u8 *)to)[i] = ((const u8 *)from)[i];
	return to;
}

void *memset(void *to, int c, u64 n)
{
	for (u64 i = 0; i < n; i++)
		((volatile u8 *)to)[i] = c;
	return to;
}

static u32 length(const char *s)
{
	u32 n = 0;
	while (s[n])
		n++;
	return n;
}

static void quit(int code)
{
	for (;;)
		sys(EXIT, code, 0, 0, 0);
}

static void flush(struct walk *w)
{
	for (u32 done = 0; done < w->used;) {
		s64 n = sys(WRITE, 1, (s64)(w->out + done), w->used - done, 0);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			quit(3);
		done += n;
	}
	w->used = 0;
}

static void put(struct walk *w, const void *from, u64 n)
{
	while (n) {
		u64 part = sizeof w->out - w->used;
		if (part > n)
			part = n;
		memcpy(w->out + w->used, from, part);
		from = (const u8 *)from + part;
		n -= part;
		if ((w->used += part) == sizeof w->out)
			flush(w);
	}
}

static void end(struct walk *w, u32 kind, s64 error)
{
	struct record r;
	memset(&r, 0, sizeof r);
	r.kind = kind;
	r.size = -error;
	r.name = kind == FAILED ? w->length : 0;
	put(w, &r, sizeof r);
	put(w, w->path, r.name);
	flush(w);
	quit(kind == FAILED);
}

// content writes exactly size bytes, whatever the file has become meanwhile.
static void content(struct walk *w, s64 fd, u64 size)
{
	s64 n = 1;
	while (size) {
		if (w->used == sizeof w->out)
			flush(w);
		u64 part = sizeof w->out - w->used;
		if (part > size)
			part = size;
		if (n > 0) {
			do
				n = sys(READ, fd, (s64)(w->out + w->used), part, 0);
			while (n == -EINTR);
			if (n < 0)
				end(w, FAILED, n);
			if (n > 0)
				part = n;
		}
		if (n == 0)
			memset(w->out + w->used, 0, part);
		w->used += part;
		size -= part;
	}
}

static void entry(struct walk *w, const struct stat *st, const char *target, u32 n)
{
	struct record r = {
		.kind = ENTRY, .mode = st->mode, .uid = st->uid, .gid = st->gid, .dev = st->dev, .inode = st->inode, .device = st->device,
		.seconds = st->mtime, .nanoseconds = st->mnsec, .links = st->links, .name = w->length, .target = n,
		.size = (st->mode & S_IFMT) == S_IFREG ? st->size : 0,
	};
	put(w, &r, sizeof r);
	put(w, w->path, w->length);
	put(w, target, n);
}

static void visit(struct walk *w, s64 dir, const char *name, int top);

// memory returns pages, or gives them back if there were some before.
static void *memory(struct walk *w, void *old, u64 before, u64 size)
{
	s64 r = 0;
	if (!old)
		r = sys6(MMAP, 0, size, READABLE | WRITABLE, PRIVATE | ANONYMOUS, -1, 0);
	else if (size)
		r = sys(MREMAP, (s64)old, before, size, MAYMOVE);
	else
		sys(MUNMAP, (s64)old, before, 0, 0);
	if (r < 0 && r > -4096)
		end(w, FAILED, r);
	return (void *)r;
}

struct list {
	u8 *entries;
	u32 *at; // where each begins
};

static int before(struct list *l, u32 a, u32 b)
{
	const char *x = ((struct dirent *)(l->entries + l->at[a]))->name, *y = ((struct dirent *)(l->entries + l->at[b]))->name;
	while (*x && *x == *y)
		x++, y++;
	return (u8)*x < (u8)*y;
}

static void sink(struct list *l, u32 i, u32 n)
{
	for (;;) {
		u32 most = i;
		for (u32 child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
			if (before(l, most, child))
				most = child;
		if (most == i)
			return;
		u32 t = l->at[i];
		l->at[i] = l->at[most];
		l->at[most] = t;
		i = most;
	}
}

// children visits what is in a directory, in the order of names.
static void children(struct walk *w, s64 fd)
{
	u64 size = 1 << 16, used = 0;
	struct list l = {memory(w, 0, 0, size), 0};
	u32 n = 0;
	for (;;) {
		if (size - used < 1 << 15) {
			l.entries = memory(w, l.entries, size, 2 * size);
			size *= 2;
		}
		s64 r = sys(GETDENTS, fd, (s64)(l.entries + used), size - used, 0);
		if (r < 0)
			end(w, FAILED, r);
		if (r == 0)
			break;
		used += r;
	}
	l.at = memory(w, 0, 0, used + 1); // an entry is longer than a number
	for (u64 i = 0; i < used;) {
		struct dirent *d = (struct dirent *)(l.entries + i);
		if (d->name[0] != '.' || (d->name[1] && (d->name[1] != '.' || d->name[2])))
			l.at[n++] = i;
		i += d->length;
	}
	for (u32 i = n / 2; i-- > 0;)
		sink(&l, i, n);
	for (u32 i = n; i-- > 1;) {
		u32 t = l.at[0];
		l.at[0] = l.at[i];
		l.at[i] = t;
		sink(&l, 0, i);
	}
	u32 length_before = w->length;
	for (u32 i = 0; i < n; i++) {
		struct dirent *d = (struct dirent *)(l.entries + l.at[i]);
		u32 more = length(d->name);
		if (length_before + 1 + more > sizeof w->path)
			end(w, FAILED, -ENAMETOOLONG);
		if (length_before)
			w->path[w->length++] = '/';
		memcpy(w->path + w->length, d->name, more);
		w->length += more;
		visit(w, fd, d->name, 0);
		w->length = length_before;
	}
	memory(w, l.at, used + 1, 0);
	memory(w, l.entries, size, 0);
}

// visit writes one file, and what is below it. Of what others remove in the meantime it writes nothing.
static void visit(struct walk *w, s64 dir, const char *name, int top)
{
	struct stat st;
	s64 r = sys(FSTATAT, dir, (s64)name, (s64)&st, SYMLINK_NOFOLLOW);
	if (r == -ENOENT && !top)
		return;
	if (r < 0)
		end(w, FAILED, r);
	u32 kind = st.mode & S_IFMT;
	if (kind == S_IFLNK) {
		char target[4096];
		r = sys(READLINKAT, dir, (s64)name, (s64)target, sizeof target);
		if (r >= 0)
			entry(w, &st, target, r);
		else if (r != -ENOENT || top)
			end(w, FAILED, r);
		return;
	}
	if (kind != S_IFREG && kind != S_IFDIR) {
		entry(w, &st, 0, 0);
		return;
	}
	s64 fd = sys(OPENAT, dir, (s64)name, NOFOLLOW | CLOEXEC | NONBLOCK | (kind == S_IFDIR ? DIRECTORY : 0), 0);
	if (fd < 0 && !top && (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR))
		return;
	if (fd >= 0)
		r = sys(FSTATAT, fd, (s64) "", (s64)&st, EMPTY_PATH);
	if (fd < 0 || r < 0)
		end(w, FAILED, fd < 0 ? fd : r);
	entry(w, &st, 0, 0);
	if ((st.mode & S_IFMT) == S_IFREG)
		content(w, fd, st.size);
	else if ((st.mode & S_IFMT) == S_IFDIR)
		children(w, fd);
	sys(CLOSE, fd, 0, 0, 0);
}

// enter gets the stack as the kernel makes it: the number of arguments, and they.
__attribute__((used)) void enter(s64 *stack)
{
	struct walk w;
	char **argv = (char **)(stack + 1);
	w.used = w.length = 0;
	if (stack[0] != 3)
		quit(2);
	s64 r = sys(CHROOT, (s64)argv[1], 0, 0, 0);
	if (r >= 0)
		r = sys(CHDIR, (s64) "/", 0, 0, 0);
	if (r < 0)
		end(&w, FAILED, r);
	visit(&w, AT_FDCWD, argv[2], 1);
	end(&w, END, 0);
}
