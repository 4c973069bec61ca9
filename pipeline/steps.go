package pipeline

// Operating systems of a container step.
const (
	Linux   = "linux"
	Windows = "windows"
)

const (
	defaultShell        = "/bin/sh"
	defaultWindowsShell = "powershell.exe"
)

// A Container runs commands in a container whose working directory is the repository.
type Container struct {
	Image string `json:"image"`
	// Shell runs the script. It is one program, never split at spaces.
	Shell string `json:"shell"`
	// Script is the step's cmds, joined by newlines. Nothing is added to it: "set -e" is not implied.
	Script string `json:"script"`
	// OS is Linux or Windows.
	OS string `json:"os"`
	// Env holds environment variables beside those of SecretName.
	Env map[string]string `json:"env,omitempty"`
	// SecretName is a secret of the project; each of its keys becomes an environment variable.
	SecretName string `json:"secretName,omitempty"`
	// ServiceAccount has a meaning on Kubernetes only. It is "default" if the definition says nothing.
	ServiceAccount string `json:"serviceAccount"`
	// CertificatesMountPath is where the installation's CA certificates are mounted, or empty.
	CertificatesMountPath string `json:"certificatesMountPath,omitempty"`
	// User is "name", "uid" or "uid:gid"; empty means the image's own.
	User string `json:"user,omitempty"`
}

// Args is the exact argument vector: shell, -c (-C on Windows), script.
func (c *Container) Args() []string {
	if c.OS == Windows {
		return []string{c.Shell, "-C", c.Script}
	}
	return []string{c.Shell, "-c", c.Script}
}

// A Docker step builds an image from a Dockerfile and pushes it.
type Docker struct {
	// File is the Dockerfile's path in the repository, Context the build context's ("." is the root).
	File    string `json:"file"`
	Context string `json:"context"`
	// Destination is the image's name without a tag.
	Destination string `json:"destination"`
	// Tags has at least one element, none of them empty.
	Tags []string `json:"tags"`
	Push bool     `json:"push"`
	// Secret names the registry's credentials, stored as a Docker config.json.
	Secret string `json:"secret"`
	// AppendCert asks for the installation's CA certificates in the image.
	AppendCert bool `json:"appendCert,omitempty"`
	// Args are build arguments, each "NAME=value".
	Args []string `json:"args,omitempty"`
	// SecretName is a secret of the project; SecretArgs, each "ARG=key", make build arguments of its keys.
	SecretName string   `json:"secretName,omitempty"`
	SecretArgs []string `json:"secretArgs,omitempty"`
}

// Images returns the full names to push: the destination with each tag.
func (d *Docker) Images() []string {
	images := make([]string, len(d.Tags))
	for i, t := range d.Tags {
		images[i] = d.Destination + ":" + t
	}
	return images
}

// A Helm step runs "helm upgrade --install".
type Helm struct {
	Chart     string `json:"chart"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Repo      string `json:"repo"`
	// Set holds single values with their types, numbers in a notation of JSON; the keys are Helm's dotted paths.
	Set map[string]Value `json:"set,omitempty"`
	// Files are values files with their variables substituted.
	Files []File `json:"files,omitempty"`
	// ChartVersion is a version, or "latest".
	ChartVersion string `json:"chartVersion"`
	// HelmVersion is the client image's tag; empty leaves the choice to the installation.
	HelmVersion string `json:"helmVersion,omitempty"`
	// Cluster names a stored kubeconfig.
	Cluster string `json:"cluster"`
	// Secret names the chart repository's credentials; empty means none.
	Secret string `json:"secret,omitempty"`
}

// A HelmPackage step packages a chart and pushes it.
type HelmPackage struct {
	// Version overrides the version in Chart.yaml, if it is not empty.
	Version string `json:"version,omitempty"`
	// ChartPath is the chart's directory in the repository ("." is the root).
	ChartPath   string `json:"chartPath"`
	Destination string `json:"destination"`
	// Secret names the chart repository's credentials; empty means none.
	Secret string `json:"secret,omitempty"`
}

// A Kubectl step applies manifests to a cluster.
type Kubectl struct {
	// Files has at least one element.
	Files []File `json:"files"`
	// Namespace is empty if the definition says nothing.
	Namespace string `json:"namespace,omitempty"`
	// Action is kubectl's verb, such as "apply".
	Action string `json:"action"`
	Force  bool   `json:"force,omitempty"`
	// Cluster names a stored kubeconfig.
	Cluster string `json:"cluster"`
}

// A NuGetPackage step packs a project and pushes it to a NuGet repository.
type NuGetPackage struct {
	Version     string `json:"version"`
	ProjectPath string `json:"projectPath"`
	Repo        string `json:"repo"`
	// SkipDuplicate makes a version that exists already a success.
	SkipDuplicate bool `json:"skipDuplicate,omitempty"`
	// CertificatesMountPath is where the installation's CA certificates are mounted, or empty.
	CertificatesMountPath string `json:"certificatesMountPath,omitempty"`
}

// A File is a file of the repository that a step refers to.
type File struct {
	// Path is relative to the repository, with '/' between elements, or a URL.
	Path string `json:"path"`
	// Loaded says that Content is the file's content after substitution. It is false for a URL, and for every file if the
	// plan was made without Options.Files.
	Loaded  bool   `json:"loaded,omitempty"`
	Content string `json:"content,omitempty"`
}
