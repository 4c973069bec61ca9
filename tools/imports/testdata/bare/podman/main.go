// Command podman does what examples/podman does with nothing but requests to Podman's API: what a program of that kind weighs without
// Wharf. Podman's own client, which brings some hundred packages, would make it many times as large.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
)

// api speaks to the service of root.
var api = http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", "/run/podman/podman.sock")
}}}

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// call returns the body of an answer.
func call(method, path string, body any) (io.ReadCloser, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, "http://podman/v4.0.0/libpod"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	resp, err := api.Do(req)
	if err == nil && resp.StatusCode >= 400 {
		resp.Body.Close()
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// ask calls, and reads the answer into out, if that is not nil.
func ask(method, path string, body, out any) error {
	answer, err := call(method, path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

func run(image string) error {
	if err := ask("POST", "/images/pull?reference="+url.QueryEscape(image), nil, nil); err != nil {
		return err
	}
	var made struct{ ID string }
	spec := map[string]any{"image": image, "command": []string{"sh", "-c", "echo hello, world | tee /tmp/greeting"}}
	if err := ask("POST", "/containers/create", spec, &made); err != nil {
		return err
	}
	container := "/containers/" + made.ID
	defer ask("DELETE", container+"?force=true", nil, nil)
	if err := ask("POST", container+"/start", nil, nil); err != nil {
		return err
	}
	var code int
	if err := ask("POST", container+"/wait", nil, &code); err != nil {
		return err
	}
	logs, err := call("GET", container+"/logs?stdout=true&stderr=true", nil)
	if err != nil {
		return err
	}
	defer logs.Close()
	var header [8]byte // of each piece: its stream and its length
	for {
		if _, err := io.ReadFull(logs, header[:]); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if _, err := io.CopyN(os.Stdout, logs, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return err
		}
	}
	fmt.Println("exited with code", code)
	out, err := call("GET", container+"/archive?path=/tmp/greeting", nil)
	if err != nil {
		return err
	}
	defer out.Close()
	files := tar.NewReader(out)
	h, err := files.Next()
	if err != nil {
		return err
	}
	fmt.Printf("%s: ", h.Name)
	_, err = io.Copy(os.Stdout, files)
	return err
}
