package pipeline

// A Plan is a definition made ready to run: variables are substituted, matrices expanded and filters decided. It is
// plain data; a JSON round trip gives an equal plan.
//
// A plan can hold secrets in any substituted text, and lists them in Secrets; treat it as secret where that is not empty.
type Plan struct {
	// File is the name that was given to Parse, for messages.
	File string `json:"file"`
	// Environment is the chosen environment, or empty.
	Environment string `json:"environment,omitempty"`
	// Timeout bounds the whole build; 0 means no bound.
	Timeout Duration `json:"timeout,omitempty"`
	// Concurrency bounds how many steps run at once; 0 means no bound.
	Concurrency int `json:"concurrency,omitempty"`
	// Stages run one after another, in this order.
	Stages []Stage `json:"stages"`
	// Secrets are the values to mask in logs: those of password inputs, without empty ones and duplicates.
	Secrets []string `json:"secrets,omitempty"`
	// Warnings do not stop a build; they are sorted like errors.
	Warnings Errors `json:"warnings,omitempty"`
}

// RunIf says on which earlier results a stage runs.
type RunIf string

// The values of RunIf. A plan always has one of them, never an empty one.
const (
	RunIfSuccess RunIf = "success" // no earlier stage failed
	RunIfFail    RunIf = "fail"    // an earlier stage failed
	RunIfAlways  RunIf = "always"  // whatever happened before
)

// A Stage is a group of steps that run in parallel, but for their Needs.
type Stage struct {
	Name string `json:"name"`
	// RunIf is decided while the build runs; Skip was decided by the plan.
	RunIf RunIf `json:"runIf"`
	// Skip is the reason why this stage does not run at all, in words, or empty. The steps of a stage with a Skip have an
	// ID, a Name, a Type and a Line and nothing else: nothing in them was substituted and no matrix expanded.
	Skip  string `json:"skip,omitempty"`
	Steps []Step `json:"steps"`
}

// Type is the type of a step, which is also the key under which it is written.
type Type string

// The step types.
const (
	TypeContainer    Type = "container"
	TypeDocker       Type = "docker"
	TypeHelm         Type = "helm"
	TypeHelmPackage  Type = "helm-package"
	TypeKubectl      Type = "kubectl"
	TypeNuGetPackage Type = "nuget-package"
)

// A Step is one unit of work. Exactly one of the pointers Container … NuGetPackage is set, the one that Type names
// (none in a skipped stage).
type Step struct {
	// ID is unique in the plan, depends on nothing but the names of the stage and the step, and fits a DNS label, a
	// Kubernetes label value, a container's name and a file name: at most 63 of a-z, 0-9 and '-', first and last
	// alphanumeric. The stage "build" and the step "web" give "build--web"; names that do not fit, or that are too
	// long, are shortened and get a hash: "build--web-1-22--5c1e0f7a94".
	ID string `json:"id"`
	// Name is the step's name as written, or "name (a, b)" for an element of a matrix.
	Name string `json:"name"`
	Type Type   `json:"type"`
	// Line is the line of the step's name in the definition, from 1.
	Line int `json:"line"`

	// Matrix holds the variables of this element of the step's matrix, in the order of the file.
	Matrix []MatrixValue `json:"matrix,omitempty"`
	// Needs are the IDs of the steps of the same stage that must succeed before this one starts. There is no cycle.
	Needs []string `json:"needs,omitempty"`
	// Timeout bounds one attempt of the step; 0 means no bound.
	Timeout Duration `json:"timeout,omitempty"`
	Retry   Retry    `json:"retry,omitzero"`
	// Artifacts are globs relative to the workspace, with '/' between elements; "**" matches any number of elements.
	Artifacts []string  `json:"artifacts,omitempty"`
	Cache     []Cache   `json:"cache,omitempty"`
	Services  []Service `json:"services,omitempty"`
	Resources Resources `json:"resources,omitzero"`

	Container    *Container    `json:"container,omitempty"`
	Docker       *Docker       `json:"docker,omitempty"`
	Helm         *Helm         `json:"helm,omitempty"`
	HelmPackage  *HelmPackage  `json:"helmPackage,omitempty"`
	Kubectl      *Kubectl      `json:"kubectl,omitempty"`
	NuGetPackage *NuGetPackage `json:"nugetPackage,omitempty"`
}

// A MatrixValue is one variable of one element of a matrix.
type MatrixValue struct {
	Name  string `json:"name"`
	Value Value  `json:"value"`
}

// RetryOn is a kind of failure after which a step may be tried again.
type RetryOn string

// The values of RetryOn.
const (
	RetryOnInfrastructure RetryOn = "infrastructure" // the runtime failed, not the step: lost, evicted, not startable
	RetryOnFailure        RetryOn = "failure"        // the step itself failed
)

// Retry says how often a step may be tried again. The zero value means never.
type Retry struct {
	// Count is the number of attempts after the first one, 0 to 10.
	Count int `json:"count,omitempty"`
	// On is not empty if Count is not 0.
	On []RetryOn `json:"on,omitempty"`
}

// A Cache is a directory that outlives the build.
type Cache struct {
	// Path is absolute in the container, or relative to the workspace.
	Path string `json:"path"`
	// Key names the cache within the project; steps with the same key share it. It may hold any text.
	Key string `json:"key"`
}

// A Service is a container that runs beside a step. The step reaches it under its name and on localhost.
type Service struct {
	// Name is a DNS label.
	Name  string            `json:"name"`
	Image string            `json:"image"`
	Env   map[string]string `json:"env,omitempty"`
	// Script is run by "/bin/sh -c"; if it is empty the image's own command runs.
	Script string `json:"script,omitempty"`
	Ready  Ready  `json:"ready,omitzero"`
	// Timeout bounds the wait for Ready; 0 leaves the choice to the engine.
	Timeout Duration `json:"timeout,omitempty"`
}

// Args is the exact argument vector of the service, or nil for the image's own.
func (s *Service) Args() []string {
	if s.Script == "" {
		return nil
	}
	return []string{defaultShell, "-c", s.Script}
}

// Ready tells when a service is ready for its step. At most one field is set; the zero value means as soon as it runs.
type Ready struct {
	// TCP is a port, 1 to 65535, that must accept connections.
	TCP int `json:"tcp,omitempty"`
	// Exec is a command that must end with exit code 0 inside the service.
	Exec []string `json:"exec,omitempty"`
}

// Resources is what a step's container gets. A zero field means that nothing was said.
type Resources struct {
	// CPU is reserved, in thousandths of a core.
	CPU int64 `json:"cpu,omitempty"`
	// Memory is reserved, in bytes.
	Memory int64 `json:"memory,omitempty"`
	// CPULimit and MemoryLimit bound the use, in the same units. They default to CPU and Memory and are never less.
	CPULimit    int64 `json:"cpuLimit,omitempty"`
	MemoryLimit int64 `json:"memoryLimit,omitempty"`
}

// Step returns the step with an ID, or nil.
func (p *Plan) Step(id string) *Step {
	for i := range p.Stages {
		for j := range p.Stages[i].Steps {
			if p.Stages[i].Steps[j].ID == id {
				return &p.Stages[i].Steps[j]
			}
		}
	}
	return nil
}
