package drivers

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// kubernetesParameters are what a URL of Kubernetes may carry. Where a value is a list, commas separate.
var kubernetesParameters = []string{
	"owner", "kubeconfig", "context", "server", "helper-image", "service-account", "node-selector", "tolerations", "pull-secrets", "mirrors",
	"cpu-request", "cpu-limit", "memory-request", "memory-limit", "storage-class", "volume-size", "volume-root", "gate",
}

func openKubernetes(u *url.URL) (driver.Driver, error) {
	cfg, err := kubernetesConfig(u)
	if err != nil {
		return nil, err
	}
	return kubernetes.New(cfg)
}

// kubernetesConfig reads kubernetes://CONTEXT/NAMESPACE?PARAMETERS. A context that a URL cannot hold there is a parameter.
func kubernetesConfig(u *url.URL) (kubernetes.Config, error) {
	q := u.Query()
	cfg := kubernetes.Config{
		Owner: q.Get("owner"), Kubeconfig: q.Get("kubeconfig"), Context: q.Get("context"), Server: q.Get("server"),
		Namespace: strings.Trim(u.Path, "/"), HelperImage: q.Get("helper-image"), ServiceAccount: q.Get("service-account"),
		Tolerations: listOf(q.Get("tolerations")), PullSecrets: listOf(q.Get("pull-secrets")), StorageClass: q.Get("storage-class"),
		VolumeRoot: q.Get("volume-root"),
	}
	host := u.Host
	if u.User != nil { // kubeadm's contexts are like "kubernetes-admin@kubernetes"
		host = u.User.Username() + "@" + host
	}
	if host != "" && cfg.Context != "" {
		return cfg, errors.New("names two contexts")
	}
	if host != "" {
		cfg.Context = host
	}
	var errs [8]error
	cfg.NodeSelector, errs[0] = pairsOf(q, "node-selector")
	cfg.Mirrors, errs[1] = pairsOf(q, "mirrors")
	cfg.Requests.CPU, errs[2] = amountOf(q, "cpu-request", (*resource.Quantity).MilliValue)
	cfg.Limits.CPU, errs[3] = amountOf(q, "cpu-limit", (*resource.Quantity).MilliValue)
	cfg.Requests.Memory, errs[4] = amountOf(q, "memory-request", (*resource.Quantity).Value)
	cfg.Limits.Memory, errs[5] = amountOf(q, "memory-limit", (*resource.Quantity).Value)
	cfg.VolumeSize, errs[6] = amountOf(q, "volume-size", (*resource.Quantity).Value)
	if gate := q.Get("gate"); gate != "" {
		if cfg.Gate, errs[7] = strconv.ParseBool(gate); errs[7] != nil {
			errs[7] = fmt.Errorf("the parameter gate must be true or false, not %q", gate)
		}
	}
	return cfg, errors.Join(errs[:]...)
}

func listOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func pairsOf(q url.Values, parameter string) (map[string]string, error) {
	var pairs map[string]string
	for _, item := range listOf(q.Get(parameter)) {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("the parameter %s must be like key=value,key=value: %q", parameter, item)
		}
		if pairs == nil {
			pairs = map[string]string{}
		}
		pairs[key] = value
	}
	return pairs, nil
}

func amountOf(q url.Values, parameter string, unit func(*resource.Quantity) int64) (int64, error) {
	text := q.Get(parameter)
	if text == "" {
		return 0, nil
	}
	amount, err := resource.ParseQuantity(text)
	if err != nil || unit(&amount) <= 0 {
		return 0, fmt.Errorf("the parameter %s must be an amount as Kubernetes has it, such as 500m or 2Gi, not %q", parameter, text)
	}
	return unit(&amount), nil
}
