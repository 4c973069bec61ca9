package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wharfci/wharf/tools/images/internal/debian"
	"github.com/wharfci/wharf/tools/images/internal/rootfs"
)

// workerTag is the worker image's name unless another one is asked for.
const workerTag = "localhost/wharf/worker:1"

// workerPackages are those of Debian that the worker image has something from, beside those that they depend on.
var workerPackages = []string{"base-files", "busybox-static", "ca-certificates", "git", "git-lfs", "openssh-client"}

// workerFiles are the files of packages that stay; libraries that they need come by themselves.
var workerFiles = []string{
	// Git as a client. A submodule's commands are a shell script, with two that it reads; what the script's messages go through is a program.
	"usr/bin/git", "usr/bin/git-upload-pack", "usr/bin/git-receive-pack", "usr/lib/git-core/git-remote-http", "usr/lib/git-core/git-remote-https",
	"usr/lib/git-core/git-http-fetch", "usr/lib/git-core/git-submodule", "usr/lib/git-core/git-sh-setup", "usr/lib/git-core/git-sh-i18n",
	"usr/lib/git-core/git-sh-i18n--envsubst", "usr/share/git-core/templates/description", "usr/share/git-core/templates/info/exclude",
	"usr/bin/git-lfs",
	"usr/bin/ssh", "usr/bin/ssh-add", "usr/bin/ssh-agent", "usr/bin/ssh-keygen", "usr/bin/ssh-keyscan", "etc/ssh/ssh_config",
	// Git gives filters such as LFS's, credential helpers and GIT_SSH_COMMAND to a shell.
	"usr/bin/busybox",
	// The C library loads these when it needs them: to end a thread, and for files in the encodings that .gitattributes names.
	"usr/lib/*/libgcc_s.so.1", "usr/lib/*/gconv/gconv-modules", "usr/lib/*/gconv/UTF-16.so", "usr/lib/*/gconv/UTF-32.so", "usr/lib/*/gconv/ISO8859-1.so",
	"usr/lib/*/gconv/ISO8859-15.so", "usr/lib/*/gconv/CP1252.so",
	// The licences that the packages' copyright files refer to.
	"usr/share/common-licenses/*", "etc/os-release",
}

// workerApplets are the tools beside the shell that Git's scripts and short helpers use.
var workerApplets = []string{"basename", "cat", "cut", "dirname", "env", "expr", "grep", "rm", "sed", "sh", "sleep", "sort", "tr", "uname", "wc"}

// workerDirs are there whatever is in them; the last is for the secrets of a worker, and spares the runtimes to look for it.
var workerDirs = []string{"dev", "etc", "home", "proc", "run", "sys", "usr", "var", "run/wharf"}

// workerTexts are files that no package has. What is in gitconfig is what "git lfs install --system" writes.
var workerTexts = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home/nobody:/bin/sh\n",
	"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "hosts: files dns\n",
	"etc/gitconfig": "[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n" +
		"\tprocess = git-lfs filter-process\n\trequired = true\n",
}

// worker is what the worker image is made from.
type worker struct {
	packages *debian.Set
	binary   []byte
	version  string
}

// workerRecipe finds out what the image is made from for an architecture, and fetches and builds what is missing; the newest packages if update is set.
func workerRecipe(arch, tag string, update bool) (recipe, error) {
	packages, err := workerSet(arch, update)
	if err != nil {
		return recipe{}, err
	}
	w := worker{packages: packages}
	if w.binary, w.version, err = buildWharf(arch, update); err != nil {
		return recipe{}, err
	}
	at, err := w.time()
	if err != nil {
		return recipe{}, err
	}
	ingredients := []string{fmt.Sprintf("%x", sha256.Sum256(w.binary)), at.String(), fmt.Sprint(workerFiles, workerApplets, workerTexts, workerDirs)}
	for _, p := range packages.Packages {
		ingredients = append(ingredients, p.String(), p.SHA256)
	}
	return recipe{
		name: "worker", tags: []string{tag}, arch: arch, at: at, entrypoint: []string{"/usr/local/bin/wharf"}, ingredients: ingredients,
		labels: map[string]string{"org.opencontainers.image.title": "Wharf worker", "org.opencontainers.image.version": w.version},
		layers: []func(*layer) error{w.base, w.program},
	}, nil
}

func workerSet(arch string, update bool) (*debian.Set, error) {
	cache, err := cacheDir("debian")
	if err != nil {
		return nil, err
	}
	return debian.Open(cache, arch, workerPackages, update)
}

// buildWharf builds wharf, and returns it with its version. One that is to be given away says nothing of the directory that it was built in; for the tests all that Wharf
// imports would be compiled a second time for that. The file stays, since Go does not link one anew that is as it should be.
func buildWharf(arch string, release bool) (binary []byte, version string, err error) {
	dir := filepath.Join("bin", "worker", arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "wharf")
	cmd := exec.Command("go", "build", fmt.Sprintf("-trimpath=%v", release), "-ldflags=-s -w", "-o", file, "github.com/wharfci/wharf/cmd/wharf")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	if binary, err = os.ReadFile(file); err != nil {
		return nil, "", err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, "", err
	}
	return binary, info.Main.Version, nil
}

// time is that of the newest package, unless SOURCE_DATE_EPOCH says one: it depends on what the image is made from alone.
func (w worker) time() (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	var newest int64
	for _, p := range w.packages.Packages {
		newest = max(newest, p.Made)
	}
	return time.Unix(newest, 0).UTC(), nil
}

func (w worker) program(l *layer) error {
	l.parents("usr/local/bin", map[string]bool{"usr": true})
	l.file("usr/local/bin/wharf", 0o755, w.binary)
	return nil
}

// base writes everything but wharf itself: it stays the same when only that changes.
func (w worker) base(l *layer) error {
	root, err := w.root()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, d := range workerDirs {
		l.parents(d, seen)
	}
	for _, d := range rootfs.Merged {
		l.parents("usr/"+d, seen)
		l.link(d, "usr/"+d)
	}
	l.dir("root", 0o700)
	l.dir("tmp", 0o1777)
	l.header(tar.Header{Typeflag: tar.TypeDir, Name: "home/nobody/", Mode: 0o700, Uid: 65534, Gid: 65534})
	for _, name := range slices.Sorted(maps.Keys(root)) {
		l.parents(filepath.Dir(name), seen)
		if e := root[name]; e.Link != "" {
			l.link(name, e.Link)
		} else {
			l.file(name, e.Mode, e.Content)
		}
	}
	return l.err
}

// root puts the files together.
func (w worker) root() (rootfs.Tree, error) {
	all := rootfs.Tree{}
	for _, p := range w.packages.Packages {
		err := w.packages.Files(p, func(h *tar.Header, r io.Reader) error { return all.Add(p.Name, h, r) })
		if err != nil {
			return nil, err
		}
	}
	root, err := all.Pick(w.packages.Arch, workerFiles...)
	if err != nil {
		return nil, fmt.Errorf("packages of Debian for %s: %w", w.packages.Arch, err)
	}
	const authorities = "ca-certificates"
	text := func(name string, content []byte) {
		root[name] = rootfs.Entry{Mode: 0o644, Content: content, Owner: authorities}
	}
	if content := all.Certificates(); len(content) > 0 {
		text(certificates[1:], content)
	} else {
		return nil, fmt.Errorf("the package %s has no certificates", authorities)
	}
	var versions strings.Builder
	for _, p := range w.packages.Packages {
		if !slices.Contains(root.Owners(), p.Name) {
			continue
		}
		fmt.Fprintln(&versions, p.Name, p.Version, p.Arch)
		licence := "usr/share/doc/" + p.Name + "/copyright"
		content, err := all.Read(licence)
		if err != nil {
			return nil, err
		}
		text(licence, content)
	}
	text("usr/share/wharf/packages.txt", []byte(versions.String()))
	for name, content := range workerTexts {
		text(name, []byte(content))
	}
	for _, a := range workerApplets {
		root["usr/bin/"+a] = rootfs.Entry{Link: "busybox"}
	}
	root["usr/lib/git-core/git"] = rootfs.Entry{Link: "../../bin/git"}
	return root, nil
}
