//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// settings writes every file that the programs read.
func (c *cluster) settings() error {
	if err := os.MkdirAll(c.path("volumes"), 0o755); err != nil {
		return err
	}
	if err := c.makeSecrets(); err != nil {
		return err
	}
	kubelet, err := c.kubelet()
	return errors.Join(err,
		c.access(c.kubeconfig(), "admin", c.secret.admin),
		c.access(c.path("kubelet.kubeconfig"), "node", c.secret.node),
		os.WriteFile(c.path("kubelet.yaml"), []byte(kubelet), 0o644),
		os.WriteFile(c.path("resolv.conf"), []byte("options ndots:1\n"), 0o644),
		c.network(),
	)
}

func (c *cluster) access(file, user, token string) error {
	config := api.NewConfig()
	config.Clusters["wharf"] = &api.Cluster{Server: "https://" + nodeIP + ":" + apiPort, CertificateAuthorityData: c.secret.authority}
	config.AuthInfos[user] = &api.AuthInfo{Token: token}
	config.Contexts["wharf"] = &api.Context{Cluster: "wharf", AuthInfo: user, Namespace: "default"}
	config.CurrentContext = "wharf"
	return clientcmd.WriteToFile(*config, file)
}

// kubelet is the kubelet's configuration. Images cannot be pulled again, so none is ever collected; what a machine may lack (a
// control group of version 2, the right to lower scores) is not asked for.
func (c *cluster) kubelet() (string, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return "", err
	}
	return strings.NewReplacer("DIR", c.dir, "NODE_IP", nodeIP, "SOCKET", os.Getenv("CONTAINERD_ADDRESS"), "CGROUP", os.Getenv("CONTAINERD_CGROUP"),
		"FILES", fmt.Sprint(min(files.Max, 1_000_000))).Replace(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: NODE_IP
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: DIR/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: DIR/kubelet.crt
tlsPrivateKeyFile: DIR/kubelet.key
containerRuntimeEndpoint: unix://SOCKET
cgroupDriver: cgroupfs
cgroupRoot: CGROUP
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
maxOpenFiles: FILES
maxPods: 250
podLogsDir: DIR/logs
volumePluginDir: DIR/plugins
clusterDomain: cluster.local
resolvConf: DIR/resolv.conf
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%, imagefs.inodesFree: 1%}
`), nil
}

// network tells containerd how a pod gets its network.
func (c *cluster) network() error {
	dir := filepath.Join(filepath.Dir(c.dir), "cni")
	conf := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "withkubernetes", "plugins": [
  {"type": "bridge", "bridge": %q, "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`, bridge, c.path("addresses"), pods)
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "10-bridge.conflist"), []byte(conf), 0o644))
}
