// Images makes the images that the tests and examples use from what is on the machine, and loads them into Docker, or
// another runtime, so that nothing needs a registry. It also makes the worker image, for use.
//
//	images [-o DIR | -containerd NAMESPACE] [NAME…]
//	images -oci DIR [-arch ARCH,…] [-tag NAME] [-update]
//	images -fetch
//
//	busybox   localhost/wharf/busybox:1   a shell and small tools, from Debian's busybox-static
//	go        localhost/wharf/go:1        the Go toolchain at hand, beside the same tools; no C compiler, no Git
//	helper    localhost/wharf/helper:1    the program of the driver for Kubernetes that runs in pods, and nothing else
//	wharf     localhost/wharf/self:1      the same as go, with Git and the modules that Wharf itself needs
//	worker    localhost/wharf/worker:1    Wharf as it is here, and Git, from packages of Debian
//
// Without a NAME all are made but worker. An image that the daemon has, made from the same things, is left alone, which takes
// a few milliseconds; the archives stay in the user's cache directory. With -o they are written there, as NAME.tar
// (docker-archive, which every runtime loads), and no daemon is asked. With -containerd they are loaded into that namespace of the
// containerd of CONTAINERD_ADDRESS.
//
// With -oci the worker image is written there as image layouts, for a registry and for runtimes: worker.tar with all architectures, and
// worker-ARCH.tar with one, which "docker load" takes too. The packages are those in the user's cache directory, with -update the newest ones.
// With -fetch the packages for this machine are fetched, if they are not there, and nothing else is done: then all else works without a network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/tools/images/internal/rootfs"
)

// keyLabel is the image's label that says what it was made from.
const keyLabel = "dev.wharfci.image.key"

func main() {
	out := flag.String("o", "", "write the archives to this `directory` and load nothing")
	namespace := flag.String("containerd", "", "load into this `namespace` of containerd")
	var w release
	flag.StringVar(&w.dir, "oci", "", "write the worker image to this `directory`, as image layouts")
	flag.StringVar(&w.archs, "arch", runtime.GOARCH, "the worker image's `architectures`, separated by commas")
	flag.StringVar(&w.tag, "tag", workerTag, "the `name` with tag of the worker image")
	flag.BoolVar(&w.update, "update", false, "take the newest packages for the worker image")
	fetch := flag.Bool("fetch", false, "only fetch what the worker image needs")
	flag.Parse()
	err := together(flag.CommandLine)
	switch {
	case err != nil:
	case *fetch:
		_, err = workerSet(runtime.GOARCH, false)
	case w.dir != "":
		err = w.write()
	default:
		err = run(context.Background(), *out, *namespace, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// together returns an error for flags and names of which some would do nothing.
func together(f *flag.FlagSet) error {
	var modes []string
	release := false
	f.Visit(func(set *flag.Flag) {
		switch set.Name {
		case "arch", "tag", "update":
			release = true
		default:
			modes = append(modes, "-"+set.Name)
		}
	})
	switch {
	case len(modes) > 1:
		return fmt.Errorf("%s: one of these at a time", strings.Join(modes, ", "))
	case release && !slices.Contains(modes, "-oci"):
		return errors.New("-arch, -tag and -update are for -oci")
	case f.NArg() > 0 && (slices.Contains(modes, "-oci") || slices.Contains(modes, "-fetch")):
		return fmt.Errorf("%s is for the worker image alone, and takes no name", modes[0])
	}
	return nil
}

// release is what is asked for of the worker image.
type release struct {
	dir, archs, tag string
	update          bool
}

func (w release) write() error {
	named, err := reference.ParseNormalizedNamed(w.tag)
	if err != nil {
		return fmt.Errorf("-tag %q: %w", w.tag, err)
	}
	if _, ok := named.(reference.Digested); ok || reference.IsNameOnly(named) {
		return fmt.Errorf("-tag %q: must be a name with a tag, such as %s", w.tag, workerTag)
	}
	for arch := range strings.SplitSeq(w.archs, ",") {
		if !rootfs.Knows(arch) {
			return fmt.Errorf("-arch: there is no worker image for %q", arch)
		}
	}
	var made []recipe
	for arch := range strings.SplitSeq(w.archs, ",") {
		r, err := workerRecipe(arch, w.tag, w.update)
		if err != nil {
			return err
		}
		made = append(made, r)
	}
	return writeOCI(made, w.dir)
}

func run(ctx context.Context, out, namespace string, names []string) error {
	recipes, err := pick(names)
	if err != nil {
		return err
	}
	if out != "" {
		return writeAll(recipes, out)
	}
	if namespace != "" {
		return loadContainerd(ctx, namespace, recipes)
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer docker.Close()
	for _, r := range recipes {
		if err := ensure(ctx, docker, r); err != nil {
			return fmt.Errorf("%s: %w", r.tags[0], err)
		}
	}
	return nil
}

// pick returns the named recipes, or all.
func pick(names []string) ([]recipe, error) {
	all, err := recipes(names)
	if err != nil || len(names) == 0 {
		return all, err
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(r recipe) bool { return r.name == n }) {
			return nil, fmt.Errorf("there is no image %q: one of busybox, go, helper, wharf, worker", n)
		}
	}
	return slices.DeleteFunc(all, func(r recipe) bool { return !slices.Contains(names, r.name) }), nil
}

func writeAll(recipes []recipe, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range recipes {
		file := filepath.Join(dir, r.name+".tar")
		if err := r.write(file); err != nil {
			return err
		}
		fmt.Println(file)
	}
	return nil
}

// ensure loads the image unless the daemon has the same one.
func ensure(ctx context.Context, docker *client.Client, r recipe) error {
	have, err := docker.ImageInspect(ctx, r.tags[0])
	if err == nil && have.Config != nil && have.Config.Labels[keyLabel] == r.key() {
		return nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	begin := time.Now()
	file, err := r.cached()
	if err != nil {
		return err
	}
	if err := load(ctx, docker, file); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "images: loaded %s in %.1f s\n", r.tags[0], time.Since(begin).Seconds())
	return nil
}

func load(ctx context.Context, docker *client.Client, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	res, err := docker.ImageLoad(ctx, f, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer res.Close()
	// The load is done when the answer has ended, and an error comes inside it.
	answer, err := io.ReadAll(res)
	if err != nil {
		return err
	}
	return loadError(answer)
}
