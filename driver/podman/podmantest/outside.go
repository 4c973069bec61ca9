package podmantest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/wharfci/wharf/driver"
)

// ownerLabel is on everything that the driver makes.
const ownerLabel = "dev.wharfci.owner"

// outside reaches the service behind the driver's back.
type outside struct{ http *http.Client }

// newOutside returns one that leaves no connection behind.
func newOutside(network, address string) outside {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return outside{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// refusal is an answer that is an error.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return fmt.Sprintf("podman answered %d: %s", r.status, r.text) }

// call returns what the service answers.
func (o outside) call(ctx context.Context, method, path string, query url.Values, body io.Reader) ([]byte, error) {
	u := "http://podman/v4.0.0/libpod" + path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = refusal{resp.StatusCode, string(bytes.TrimSpace(text))}
	}
	return text, err
}

func (o outside) load(ctx context.Context, images io.Reader) error {
	_, err := o.call(ctx, "POST", "/images/load", nil, images)
	return err
}

func containerID(id driver.TaskID) string {
	c, _, _ := strings.Cut(string(id), ".")
	return c
}

func (o outside) remove(ctx context.Context, id driver.TaskID) error {
	_, err := o.call(ctx, "DELETE", "/containers/"+containerID(id), url.Values{"force": {"true"}, "v": {"true"}, "timeout": {"0"}}, nil)
	return err
}

func (o outside) signal(ctx context.Context, id driver.TaskID, signal int) error {
	_, err := o.call(ctx, "POST", "/containers/"+containerID(id)+"/kill", url.Values{"signal": {strconv.Itoa(signal)}}, nil)
	return err
}

// shown inspects the containers of a task and their image, and asks for all that was told.
func (o outside) shown(ctx context.Context, id driver.TaskID) (string, error) {
	main, err := o.call(ctx, "GET", "/containers/"+containerID(id)+"/json", url.Values{"size": {"true"}}, nil)
	if err != nil {
		return "", err
	}
	var container struct{ Image string }
	if err := json.Unmarshal(main, &container); err != nil {
		return "", err
	}
	all := string(main)
	for path, query := range map[string]url.Values{
		"/containers/json": {"all": {"true"}}, "/images/" + container.Image + "/json": nil, "/events": {"stream": {"false"}, "since": {"1"}},
	} {
		text, err := o.call(ctx, "GET", path, query, nil)
		if err != nil {
			return "", err
		}
		all += string(text)
	}
	return all, nil
}

// removeImage removes by the image's id: a name with a digest cannot be taken away.
func (o outside) removeImage(ctx context.Context, image string) error {
	text, err := o.call(ctx, "GET", "/images/"+image+"/json", nil, nil)
	var found struct{ ID string }
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err == nil {
		_, err = o.call(ctx, "DELETE", "/images/"+found.ID, url.Values{"force": {"true"}}, nil)
	}
	var no refusal
	if errors.As(err, &no) && no.status == http.StatusNotFound {
		return nil
	}
	return err
}

// left lists containers, volumes (with what says why a task was not started), networks and secrets.
func (o outside) left(ctx context.Context, owner string) ([]string, error) {
	filters, err := json.Marshal(map[string][]string{"label": {ownerLabel + "=" + owner}})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, kind := range []string{"container", "volume", "network"} {
		query := url.Values{"filters": {string(filters)}}
		if kind == "container" {
			query.Set("all", "true")
		}
		text, err := o.call(ctx, "GET", "/"+kind+"s/json", query, nil)
		if err != nil {
			return nil, err
		}
		var list []struct {
			Name, State string
			Names       []string
		}
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, err
		}
		for _, x := range list {
			if kind == "container" {
				x.Name = fmt.Sprintf("%v (%s)", x.Names, x.State)
			}
			all = append(all, kind+" "+x.Name)
		}
	}
	text, err := o.call(ctx, "GET", "/secrets/json", nil, nil)
	if err != nil {
		return nil, err
	}
	var secrets []struct{ Spec struct{ Name string } }
	if err := json.Unmarshal(text, &secrets); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(owner))
	for _, s := range secrets { // they have no labels
		if strings.HasPrefix(s.Spec.Name, fmt.Sprintf("wharf_%x_", sum[:4])) {
			all = append(all, "secret "+s.Spec.Name)
		}
	}
	return all, nil
}
