package clone

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// listen serves connections by a function that ends them.
func listen(t testing.TB, serve func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		l.Close()
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				stop := make(chan struct{})
				defer close(stop)
				go func() {
					select {
					case <-done:
						conn.Close()
					case <-stop:
					}
				}()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// request reads the head of an HTTP request.
func request(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		if line, err := r.ReadString('\n'); err != nil || strings.TrimSpace(line) == "" {
			return
		}
	}
}

const advertised = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"

// Whatever a server does, the clone ends with an error, and leaves nothing.
func TestHostileServers(t *testing.T) {
	t.Parallel() // they wait
	hang := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  Reason
	}{
		"says nothing": {hang, TooSlow},
		"says nothing any more": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, advertised+"\r\n001e# service=git-upload")
			hang(conn)
		}, TooSlow},
		"closes at once": {func(net.Conn) {}, Protocol},
		"closes midway": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, advertised+"Content-Length: 1000\r\n\r\n001e# ser")
		}, Protocol},
		"lies about a length": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, advertised+"\r\n001e# service=git-upload-pack\n0000ffff123")
		}, Protocol},
		"is garbage": {func(conn net.Conn) { request(conn); fmt.Fprint(conn, "\x00\xff\x1b[2Jgarbage\r\n") }, Protocol},
		"is a page":  {func(conn net.Conn) { request(conn); fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n<html>hello</html>") }, NoBranch},
		"fails":      {func(conn net.Conn) { request(conn); fmt.Fprint(conn, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n") }, Protocol},
		"has no such repository": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, NoRepository},
		"forbids": {func(conn net.Conn) { request(conn); fmt.Fprint(conn, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") }, Auth},
		"speaks another version": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, advertised+"\r\n001e# service=git-upload-pack\n0000000eversion 7\n0000")
		}, Protocol},
		"has headers without end": {func(conn net.Conn) {
			request(conn)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := fmt.Fprintf(conn, "X-More: %s\r\n", strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, c.serve)
			fails(t, Options{URL: "http://" + address + "/a.git", Branch: "main", limits: brief}, c.want)
		})
	}
}

// A server that sends a byte now and then is slow too, and one that goes on for ever ends by the time limit.
func TestSlowServers(t *testing.T) {
	t.Parallel() // they wait
	for name, c := range map[string]struct{ pause, timeout time.Duration }{
		"slow":    {2500 * time.Millisecond, 5 * time.Minute},
		"endless": {time.Millisecond, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(conn net.Conn) {
				request(conn)
				_, err := fmt.Fprint(conn, advertised+"\r\n001e# service=git-upload-pack\n0000")
				tick := time.NewTicker(c.pause)
				defer tick.Stop()
				for i := 0; err == nil; i++ {
					<-tick.C
					_, err = conn.Write([]byte{"0004"[i%4]})
				}
			})
			fails(t, Options{URL: "http://" + address + "/a.git", Branch: "main", limits: brief, Timeout: c.timeout}, TooSlow, "too long")
		})
	}
}

func TestRedirects(t *testing.T) {
	h, _ := history(t)
	elsewhere, asked := serve(t, h.handler())
	mux := http.NewServeMux()
	mux.Handle("/group/", h.handler())
	redirect := func(from string, to func(r *http.Request) string) {
		mux.HandleFunc(from, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to(r), http.StatusFound) })
	}
	query := "/info/refs?service=git-upload-pack"
	redirect("/circle.git/", func(r *http.Request) string { return r.URL.String() })
	redirect("/renamed.git/", func(*http.Request) string { return "/group/name.git" + query })
	redirect("/twice.git/", func(*http.Request) string { return "/renamed.git" + query })
	redirect("/to.git/", func(*http.Request) string { return "/fro.git" + query })
	redirect("/fro.git/", func(*http.Request) string { return "/to.git" + query })
	redirect("/away.git/", func(*http.Request) string { return elsewhere + "/group/name.git" + query })
	redirect("/login.git/", func(*http.Request) string { return "https://me:s3cret@login.example/in?token=s3cret" })
	redirect("/file.git/", func(*http.Request) string { return "file:///etc/passwd" })
	url, _ := serve(t, mux)
	o := Options{Branch: "main"}
	for from, words := range map[string]string{
		"/circle.git": "redirects to " + url + "/circle.git", "/to.git": "redirects to",
		"/away.git": "redirects to " + elsewhere + "/group/name.git", "/login.git": "redirects to https://login.example/in", "/file.git": "redirects to file:///etc/passwd",
	} {
		o.URL = url + from
		text, printed := fails(t, o, Redirect, words)
		if strings.Contains(text+printed, "s3cret") {
			t.Errorf("%s: a credential is shown: %s", from, text)
		}
	}
	if requests, _ := asked.all(); len(requests) > 0 {
		t.Errorf("the redirect was followed: %v", requests)
	}
	for _, o.URL = range []string{url + "/renamed.git", url + "/twice.git"} {
		for _, o.Branch = range []string{"", "main"} {
			_, dir := must(t, o)
			if got := git(t, dir, "config", "remote.origin.url"); got != url+"/group/name.git" {
				t.Errorf("the server's URL is %s", got)
			}
		}
	}
	o.URL = url + "/renamed.git"
	o.Policy = giturl.Policy{Allow: []string{url + "/renamed.git"}}
	fails(t, o, Redirect, "redirects to "+url+"/group/name.git")
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	fails(t, Options{URL: "http://" + l.Addr().String() + "/a.git", Branch: "main"}, Unreachable, "firewall")
	fails(t, Options{URL: "http://nowhere.invalid/a.git", Branch: "main"}, NoHost, "nowhere.invalid")
}

func TestNoBranch(t *testing.T) {
	h, _ := history(t)
	h.commit("group/name.git", "feature/login", map[string]string{"a": "b"})
	url, _ := serve(t, h.handler())
	for asked, want := range map[string]string{"mian": `There is "main".`, "login": `There is "feature/login".`, "release": `There is "feature/login", "main".`} {
		fails(t, Options{URL: url + "/group/name.git", Branch: asked}, NoBranch, asked, want)
	}
	fails(t, Options{URL: url + "/group/nothing.git", Branch: "main"}, NoRepository)
}

// The end of the context kills Git and whom it has started.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	address := listen(t, func(conn net.Conn) {
		request(conn)
		cancel()
		io.Copy(io.Discard, conn) // until those who hold it are dead
	})
	dir := filepath.Join(t.TempDir(), "clone")
	_, err := Clone(ctx, Options{URL: "http://" + address + "/a.git", Branch: "main", Dir: dir, Policy: httpAllowed})
	if !errors.Is(err, Cancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if exists(dir) {
		t.Error("the directory stays")
	}
}

// Those whom Git has started are killed too: the pipe ends when the last that has it is dead.
func TestCancelKillsChildren(t *testing.T) {
	bin, pipe := t.TempDir(), filepath.Join(t.TempDir(), "alive")
	script := "#!/bin/sh\nexec 7>'" + pipe + "'\n(sleep 600 & wait) &\necho started >&2\nsleep 600\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		f, err := os.Open(pipe) // when someone writes
		if err == nil {
			_, err = io.Copy(io.Discard, f) // until nobody does
		}
		ended <- err
	}()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := newCloner(Options{URL: "https://host.example/a", Dir: t.TempDir(), Progress: writer(func([]byte) { cancel() })})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.local(ctx, t.TempDir(), "init"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// A server that is right until it sends the pack, and then breaks it, is found out.
func TestBrokenPacks(t *testing.T) {
	t.Parallel() // they wait
	h, _ := history(t)
	real := h.handler()
	for name, c := range map[string]struct {
		spoil func(w http.ResponseWriter, body []byte, gone <-chan struct{})
		want  Reason
	}{
		"ends midway": {func(w http.ResponseWriter, body []byte, _ <-chan struct{}) { w.Write(body[:len(body)-40]) }, Protocol},
		"breaks off": {func(w http.ResponseWriter, body []byte, _ <-chan struct{}) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
		}, Protocol},
		"is changed": {func(w http.ResponseWriter, body []byte, _ <-chan struct{}) {
			body[bytes.Index(body, []byte("PACK"))+20] ^= 0x55
			w.Write(body)
		}, Protocol},
		"stands still": {func(w http.ResponseWriter, body []byte, gone <-chan struct{}) {
			w.Write(body[:len(body)/2])
			w.(http.Flusher).Flush()
			<-gone
		}, TooSlow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost {
					real.ServeHTTP(w, r)
					return
				}
				answer := httptest.NewRecorder()
				real.ServeHTTP(answer, r)
				w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
				if body := answer.Body.Bytes(); !bytes.Contains(body, []byte("PACK")) {
					w.Write(body)
				} else {
					c.spoil(w, body, r.Context().Done())
				}
			}))
			fails(t, Options{URL: url + "/group/name.git", Branch: "main", limits: brief}, c.want)
		})
	}
}
