package clone_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/wharfci/wharf/provisioner/clone"
	"github.com/wharfci/wharf/provisioner/giturl"
)

// served serves a repository with one commit on the branch main by HTTP.
func served() (url string, stop func()) {
	root, err := os.MkdirTemp("", "served")
	if err != nil {
		log.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"--git-dir=" + root + "/hello.git", "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE=@0 +0000", "GIT_COMMITTER_DATE=@0 +0000")
		out, err := cmd.Output()
		if err != nil {
			log.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "--quiet", "--bare")
	run("update-ref", "refs/heads/main", run("commit-tree", "-m", "hello", run("hash-object", "-t", "tree", "-w", os.DevNull)))
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(run("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	})
	return server.URL + "/hello.git", func() {
		server.Close()
		os.RemoveAll(root)
	}
}

func ExampleClone() {
	url, stop := served()
	defer stop()
	dir, err := os.MkdirTemp("", "clone")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := clone.Clone(context.Background(), clone.Options{
		URL: url, Branch: "main", Dir: filepath.Join(dir, "hello"),
		Policy: giturl.Policy{HTTP: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Branch, r.Commit)

	_, err = clone.Clone(context.Background(), clone.Options{URL: url, Branch: "mian", Dir: filepath.Join(dir, "other"), Policy: giturl.Policy{HTTP: true}})
	var e *clone.Error
	if errors.As(err, &e) && errors.Is(err, clone.NoBranch) {
		fmt.Println(e.Mend)
	}
	// Output:
	// main 5e3b2423665d0cff3ccbddad53565bca5a495caa
	// There is "main".
}

func ExampleCredential() {
	// The command that Git calls, in a program of its own: clone.Options{Helper: []string{"/usr/bin/program", "credential"}}.
	if len(os.Args) > 2 && os.Args[1] == "credential" {
		if err := clone.Credential(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			log.Fatal(err)
		}
	}
}
