package main

import (
	"context"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// listKubernetes lists pods, claims and Secrets.
func listKubernetes(ctx context.Context) (map[string]string, error) {
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	rc, err := load.ClientConfig()
	if err != nil {
		return nil, err
	}
	api, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, err
	}
	pods, err := api.CoreV1().Pods("").List(ctx, meta.ListOptions{})
	if err != nil {
		return nil, err
	}
	claims, err := api.CoreV1().PersistentVolumeClaims("").List(ctx, meta.ListOptions{})
	if err != nil {
		return nil, err
	}
	secrets, err := api.CoreV1().Secrets("").List(ctx, meta.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := finds{}
	for _, p := range pods.Items {
		found.add("pod", string(p.UID), p.Namespace+"/"+p.Name, p.Labels)
	}
	for _, c := range claims.Items {
		found.add("claim", string(c.UID), c.Namespace+"/"+c.Name, c.Labels)
	}
	for _, s := range secrets.Items {
		found.add("secret", string(s.UID), s.Namespace+"/"+s.Name, s.Labels)
	}
	return found, nil
}
