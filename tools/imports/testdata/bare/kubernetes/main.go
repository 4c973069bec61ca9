// Command kubernetes does what examples/kubernetes does with nothing but Kubernetes' own client: what a program of that kind weighs without
// Wharf. It reads the file while a second container holds the pod's directory.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	rc, err := load.ClientConfig()
	if err != nil {
		log.Fatal(err)
	}
	namespace, _, err := load.Namespace()
	if err != nil {
		log.Fatal(err)
	}
	api, err := kubernetes.NewForConfig(rc)
	if err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), rc, api, namespace, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, rc *rest.Config, api kubernetes.Interface, namespace, image string) error {
	pods := api.CoreV1().Pods(namespace)
	mounts := []core.VolumeMount{{Name: "out", MountPath: "/out"}}
	pod, err := pods.Create(ctx, &core.Pod{
		ObjectMeta: meta.ObjectMeta{GenerateName: "hello-"},
		Spec: core.PodSpec{
			RestartPolicy: core.RestartPolicyNever,
			Volumes:       []core.Volume{{Name: "out", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}},
			Containers: []core.Container{
				{Name: "main", Image: image, Command: []string{"sh", "-c", "echo hello, world | tee /out/greeting"}, VolumeMounts: mounts},
				{Name: "files", Image: image, Command: []string{"sleep", "3600"}, VolumeMounts: mounts},
			},
		},
	}, meta.CreateOptions{})
	if err != nil {
		return err
	}
	defer pods.Delete(ctx, pod.Name, meta.DeleteOptions{})
	if err := ended(ctx, api, pod); err != nil {
		return err
	}
	lines, err := pods.GetLogs(pod.Name, &core.PodLogOptions{Container: "main", Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer lines.Close()
	if _, err := io.Copy(os.Stdout, lines); err != nil {
		return err
	}
	return read(ctx, rc, api, pod)
}

// read runs a command over a WebSocket, whose messages begin with the number of the stream.
func read(ctx context.Context, rc *rest.Config, api kubernetes.Interface, pod *core.Pod) error {
	url := api.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&core.PodExecOptions{Container: "files", Command: []string{"cat", "/out/greeting"}, Stdout: true}, scheme.ParameterCodec).URL()
	url.Scheme = "wss"
	tls, err := rest.TLSConfigFor(rc)
	if err != nil {
		return err
	}
	dialer := websocket.Dialer{TLSClientConfig: tls, Subprotocols: []string{"v5.channel.k8s.io"}}
	conn, _, err := dialer.DialContext(ctx, url.String(), http.Header{"Authorization": {"Bearer " + rc.BearerToken}})
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		_, message, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(message) > 1 && message[0] == 1 {
			os.Stdout.Write(message[1:])
		}
	}
}

// ended returns when the main container has ended.
func ended(ctx context.Context, api kubernetes.Interface, pod *core.Pod) error {
	changes, err := api.CoreV1().Pods(pod.Namespace).Watch(ctx, meta.SingleObject(pod.ObjectMeta))
	if err != nil {
		return err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		p, ok := change.Object.(*core.Pod)
		if !ok {
			continue
		}
		for _, s := range p.Status.ContainerStatuses {
			if end := s.State.Terminated; s.Name == "main" && end != nil {
				fmt.Println("exited with code", end.ExitCode)
				return nil
			}
		}
	}
	return fmt.Errorf("the watch of pod %s ended", pod.Name)
}
