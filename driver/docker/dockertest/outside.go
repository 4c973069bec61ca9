package dockertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
)

// ownerLabel is on everything that the driver makes.
const ownerLabel = "dev.wharfci.owner"

// outside reaches the daemon behind the driver's back.
type outside struct{ api *client.Client }

func newOutside(cfg docker.Config, address string) (outside, error) {
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // leaves no connection behind
	opts := []client.Opt{client.WithHTTPClient(once)}
	if cfg.Host == "" && os.Getenv("DOCKER_HOST") != "" && os.Getenv(client.EnvOverrideCertPath) != "" {
		opts = append(opts, client.WithTLSClientConfigFromEnv())
	} else {
		opts = append(opts, client.WithScheme("http"))
	}
	api, err := client.New(append(opts, client.WithHost(address))...)
	return outside{api}, err
}

func (o outside) load(ctx context.Context, images io.Reader) error {
	res, err := o.api.ImageLoad(ctx, images)
	if err != nil {
		return err
	}
	defer res.Close()
	_, err = io.Copy(io.Discard, res)
	return err
}

func containerID(id driver.TaskID) string {
	c, _, _ := strings.Cut(string(id), ".")
	return c
}

func (o outside) remove(ctx context.Context, id driver.TaskID) error {
	_, err := o.api.ContainerRemove(ctx, containerID(id), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}

// shown inspects the containers of a task, and asks for all that was told of them.
func (o outside) shown(ctx context.Context, id driver.TaskID) (string, error) {
	var all strings.Builder
	main, err := o.api.ContainerInspect(ctx, containerID(id), client.ContainerInspectOptions{Size: true})
	if err != nil {
		return "", err
	}
	all.Write(main.Raw)
	image, err := o.api.ImageInspect(ctx, main.Container.Image)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&all, "%+v", image)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := o.api.Events(ctx, client.EventsListOptions{Since: "0", Until: strconv.FormatInt(time.Now().Unix()+1, 10)})
	for {
		select {
		case m := <-events.Messages:
			fmt.Fprintf(&all, "%+v", m)
		case err := <-events.Err:
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all.String(), err
		}
	}
}

func (o outside) removeImage(ctx context.Context, image string) error {
	_, err := o.api.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (o outside) signal(ctx context.Context, id driver.TaskID, signal int) error {
	_, err := o.api.ContainerKill(ctx, containerID(id), client.ContainerKillOptions{Signal: strconv.Itoa(signal)})
	return err
}

func (o outside) left(ctx context.Context, owner string) ([]string, error) {
	f := client.Filters{}.Add("label", ownerLabel+"="+owner)
	var all []string
	containers, err := o.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: f})
	if err != nil {
		return nil, err
	}
	for _, c := range containers.Items {
		all = append(all, fmt.Sprintf("container %v (%s)", c.Names, c.State))
	}
	volumes, err := o.api.VolumeList(ctx, client.VolumeListOptions{Filters: f})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		all = append(all, "volume "+v.Name)
	}
	networks, err := o.api.NetworkList(ctx, client.NetworkListOptions{Filters: f})
	for _, n := range networks.Items {
		all = append(all, "network "+n.Name)
	}
	if errdefs.IsNotFound(err) {
		err = nil
	}
	return all, err
}
