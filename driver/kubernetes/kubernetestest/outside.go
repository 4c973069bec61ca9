package kubernetestest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wharfci/wharf/driver"
)

// Labels and annotations that are on what the driver makes.
const (
	ownerLabel = "dev.wharfci/owner"
	nameNote   = "dev.wharfci/name"
)

// outside reaches the cluster behind the driver's back.
type outside struct {
	api        kubernetes.Interface
	namespace  string
	containerd string
	images     *imageServer
}

// node calls f with a connection to the node's containerd.
func (o outside) node(ctx context.Context, f func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, "k8s.io"), time.Minute)
	defer cancel()
	c, err := client.New(o.containerd)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, c), c.Close())
}

// load puts the images on the node, and what they set where the driver can read it.
func (o outside) load(ctx context.Context, archive io.Reader) error {
	return o.node(ctx, func(ctx context.Context, c *client.Client) error {
		list, err := c.Import(ctx, archive)
		if err != nil {
			return err
		}
		for _, i := range list {
			if err := client.NewImage(c, i).Unpack(ctx, ""); err != nil {
				return err
			}
			if err := o.images.add(ctx, c.ContentStore(), i); err != nil {
				return err
			}
		}
		return nil
	})
}

func podName(id driver.TaskID) string {
	name, _, _ := strings.Cut(string(id), ".")
	return name
}

// remove does what "kubectl delete --force" does.
func (o outside) remove(ctx context.Context, id driver.TaskID) error {
	now := int64(0)
	return o.api.CoreV1().Pods(o.namespace).Delete(ctx, podName(id), meta.DeleteOptions{GracePeriodSeconds: &now})
}

func (o outside) signal(ctx context.Context, id driver.TaskID, signal int) error {
	pod, err := o.api.CoreV1().Pods(o.namespace).Get(ctx, podName(id), meta.GetOptions{})
	if err != nil {
		return err
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name != driver.MainContainer {
			continue
		}
		_, id, _ := strings.Cut(s.ContainerID, "://")
		return o.node(ctx, func(ctx context.Context, c *client.Client) error {
			_, err := c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(signal)})
			return err
		})
	}
	return fmt.Errorf("the pod %s has no main container", pod.Name)
}

// shown is all that the cluster shows of a task: the pod, and the events about it.
func (o outside) shown(ctx context.Context, id driver.TaskID) (string, error) {
	pod, err := o.api.CoreV1().Pods(o.namespace).Get(ctx, podName(id), meta.GetOptions{})
	if err != nil {
		return "", err
	}
	events, err := o.api.CoreV1().Events(o.namespace).List(ctx, meta.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		return "", err
	}
	a, errA := json.Marshal(pod)
	b, errB := json.Marshal(events)
	return string(a) + string(b), errors.Join(errA, errB)
}

func (o outside) removeImage(ctx context.Context, image string) error {
	return o.node(ctx, func(ctx context.Context, c *client.Client) error {
		if err := c.ImageService().Delete(ctx, image); !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
}

// left looks for pods, claims and Secrets.
func (o outside) left(ctx context.Context, owner string) ([]string, error) {
	h := sha256.Sum256([]byte(owner))
	opts := meta.ListOptions{LabelSelector: ownerLabel + "=" + hex.EncodeToString(h[:8])}
	core := o.api.CoreV1()
	pods, err := core.Pods(o.namespace).List(ctx, opts)
	if err != nil {
		return nil, err
	}
	claims, err := core.PersistentVolumeClaims(o.namespace).List(ctx, opts)
	if err != nil {
		return nil, err
	}
	secrets, err := core.Secrets(o.namespace).List(ctx, opts)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, p := range pods.Items {
		all = append(all, "pod "+p.Name+" of "+p.Annotations[nameNote])
	}
	for _, c := range claims.Items {
		all = append(all, "claim "+c.Name+" of "+c.Annotations[nameNote])
	}
	for _, s := range secrets.Items {
		all = append(all, "secret "+s.Name)
	}
	return all, nil
}

// imageServer is a registry that has manifests and configurations only: of images that were loaded, not pulled.
type imageServer struct {
	address string
	close   func()

	mu    sync.Mutex
	blobs map[string]blob // by path
}

type blob struct {
	media   string
	content []byte
}

func serveImages() (*imageServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &imageServer{address: l.Addr().String(), blobs: map[string]blob{"/v2/": {media: "application/json", content: []byte("{}")}}}
	server := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	s.close = func() {
		server.Close()
		<-done
	}
	return s, nil
}

func (s *imageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	b, ok := s.blobs[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", b.media)
	_, _ = w.Write(b.content)
}

// add serves what an image sets.
func (s *imageServer) add(ctx context.Context, store content.Provider, i images.Image) error {
	repo := strings.TrimPrefix(i.Name, "localhost/")
	repo, _, _ = strings.Cut(repo, ":")
	put := func(kind string, d ocispec.Descriptor) ([]byte, error) {
		b, err := content.ReadBlob(ctx, store, d)
		s.mu.Lock()
		s.blobs["/v2/"+repo+"/"+kind+"/"+d.Digest.String()] = blob{d.MediaType, b}
		s.mu.Unlock()
		return b, err
	}
	text, err := put("manifests", i.Target)
	if err != nil {
		return err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return err
	}
	_, err = put("blobs", manifest.Config)
	return err
}
