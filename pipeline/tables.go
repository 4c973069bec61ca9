package pipeline

import "math"

// The tables of the language. Checks, the JSON Schema and the hints of messages are made of them.

// MaxMatrix is how many steps a matrix can become.
const MaxMatrix = 256

// Keys of a stage that are no steps.
const (
	keyEnvironments = "environments"
	keyRunIf        = "run-if"
)

// Top-level keys that are no stages. The last two are extensions: as a map they are ordinary stages.
const (
	keyInputs      = "inputs"
	keyTimeout     = "timeout"
	keyConcurrency = "concurrency"
)

var topLevelKeys = []string{keyInputs, keyEnvironments, keyTimeout, keyConcurrency}

var (
	timeoutShape = &shape{
		kind: aDuration, literal: true, examples: []string{"1h", "90m"},
		desc: "How long the whole build may take, as a Go duration.",
	}
	concurrencyShape = &shape{
		kind: anInt, literal: true, min: 1, max: 10_000,
		desc: "How many steps may run at the same time.",
	}
	environmentsShape = &shape{
		kind: aMap, elem: variablesShape, hint: asMap("{stage: {namespace: shop-stage}}"),
		desc: "The environments that a build can be started for, each with its variables.",
	}
	variablesShape = &shape{
		kind: aMap, elem: &shape{kind: aScalar, empty: true}, checkKey: checkVarName, keyRegex: varNamePattern,
		hint: asMap("{namespace: shop-stage}"),
		desc: "The variables of an environment.",
	}
	filterShape = &shape{
		kind: aList, elem: &shape{kind: aText, literal: true},
		desc: "Run the stage only if the build's environment is one of these.",
	}
	runIfShape = &shape{
		kind: aText, literal: true, def: string(RunIfSuccess),
		enum: []string{string(RunIfSuccess), string(RunIfFail), string(RunIfAlways)},
		desc: "Run the stage if no earlier one failed (success), if one failed (fail), or in any case (always).",
	}
	inputsShape = &shape{
		kind: aList, elem: inputShape, hint: "an element of the list looks like - {name: version, type: string}",
		desc: "The values that are asked for when a build is started.",
	}
	inputShape = &shape{kind: anObject, fields: []field{
		{"name", true, &shape{kind: aText, literal: true, check: checkVarName, pattern: varNamePattern, desc: "The name of the variable that holds the value."}},
		{"type", true, &shape{kind: aText, literal: true, enum: inputTypes, desc: "What the value must be; a password is masked in logs."}},
		{"default", false, &shape{kind: aScalar, empty: true, desc: "The value if none is given; without it one must be given."}},
		{"values", false, &shape{
			kind: aList, atLeast: 1, elem: &shape{kind: aScalar, empty: true, literal: true},
			desc: "What can be chosen, for the type choice.",
		}},
	}}
)

var inputTypes = []string{string(InputString), string(InputPassword), string(InputNumber), string(InputChoice)}

// stepTypes are the keys that a step can have, in the order of the documentation.
var stepTypes = []field{
	{string(TypeContainer), false, containerShape},
	{string(TypeDocker), false, dockerShape},
	{string(TypeHelm), false, helmShape},
	{string(TypeHelmPackage), false, helmPackageShape},
	{string(TypeKubectl), false, kubectlShape},
	{string(TypeNuGetPackage), false, nugetShape},
}

var stepShape = &shape{kind: anObject, fields: stepTypes}

func describe(desc string) *shape { return &shape{kind: aText, desc: desc} }
func withDefault(def, desc string) *shape {
	return &shape{kind: aText, def: def, empty: true, desc: desc}
}
func switchable(def, desc string) *shape { return &shape{kind: aBool, def: def, desc: desc} }
func repoPath(def, desc string) *shape {
	return &shape{kind: aText, def: def, desc: desc, check: checkRepoPath}
}
func listOf(atLeast int, e *shape, desc string) *shape {
	return &shape{kind: aList, atLeast: atLeast, elem: e, desc: desc}
}

const (
	keyCmds     = "cmds" // of containers and services
	certsDesc   = "Where the installation's CA certificates are mounted."
	clusterDesc = "The name of a stored kubeconfig."
)

var imageShape = &shape{
	kind: aText, check: checkImage, pattern: imagePattern, examples: []string{"alpine:3"},
	desc: "The container image.",
}

var containerShape = &shape{
	kind: anObject, desc: "Run commands in a container, in the repository.",
	fields: []field{
		{"image", true, imageShape},
		{keyCmds, true, listOf(1, &shape{kind: aText, empty: true}, "The commands, which are run as one script.")},
		{"shell", false, &shape{
			kind: aText, def: defaultShell, empty: true, check: checkShell,
			desc: "The program that runs the commands, without arguments (powershell.exe on Windows).",
		}},
		{"os", false, &shape{kind: aText, def: Linux, enum: []string{Linux, Windows}, desc: "The operating system of the image."}},
		{"secretName", false, withDefault("", "A secret of the project; each of its keys becomes an environment variable.")},
		{"serviceAccount", false, withDefault("default", "The service account, on Kubernetes.")},
		{"certificatesMountPath", false, withDefault("", certsDesc)},
		{"env", false, envShape},
		{"user", false, withDefault("", "The user to run as: a name, a number, or uid:gid.")},
		{"timeout", false, &shape{kind: aDuration, examples: []string{"10m"}, desc: "How long one attempt may take, as a Go duration."}},
		{"retry", false, retryShape},
		{"artifacts", false, listOf(0, &shape{kind: aText, check: checkGlob}, "Patterns of files in the repository to keep after the build; TRX files also count as test results.")},
		{"cache", false, listOf(0, cacheShape, "Directories that outlive the build.")},
		{"services", false, servicesShape},
		{"resources", false, resourcesShape},
		{"needs", false, listOf(0, &shape{kind: aText, literal: true}, "Steps of the same stage that must succeed first.")},
		{"matrix", false, matrixShape},
	},
}

var envShape = &shape{
	kind: aMap, elem: &shape{kind: aScalar, empty: true}, checkKey: checkEnvName, keyRegex: `^[^=]+$`,
	hint: asMap("{LEVEL: debug}"),
	desc: "Environment variables of the container.",
}

var matrixShape = &shape{
	kind: aMap, atLeast: 1, checkKey: checkVarName, keyRegex: varNamePattern,
	elem: listOf(1, &shape{kind: aScalar, empty: true}, "The values of one variable."),
	hint: asMap("{version: [1, 2]}"),
	desc: "Run the step once for each combination of these variables.",
}

var (
	retryCount = shape{kind: anInt, min: 0, max: 10, desc: "How often to try again, after the first time."}
	retryShape = &shape{
		kind: anIntOr, min: retryCount.min, max: retryCount.max,
		desc: "How often to try a step again that did not succeed.",
		elem: &shape{kind: anObject, fields: []field{
			{"count", true, &retryCount},
			{"on", false, listOf(1, &shape{
				kind: aText, enum: []string{string(RetryOnInfrastructure), string(RetryOnFailure)},
			}, "Which problems to try again after: those of the runtime (infrastructure, the default), or of the step itself (failure).")},
		}},
	}
)

var cacheShape = &shape{kind: anObject, hint: asMap("{path: node_modules, key: npm}"), fields: []field{
	{"path", true, &shape{kind: aText, check: checkCachePath, desc: "The directory: absolute in the container, or relative to the repository."}},
	{"key", true, describe("The name of the cache in the project.")},
}}

var servicesShape = &shape{
	kind: aMap, elem: serviceShape, checkKey: checkServiceName, keyRegex: dnsLabel,
	hint: asMap("{db: {image: postgres}}"),
	desc: "Containers that run beside the step, which reaches them under their names and on localhost.",
}

var serviceShape = &shape{kind: anObject, hint: asMap("{image: postgres}"), fields: []field{
	{"image", true, imageShape},
	{"env", false, envShape},
	{keyCmds, false, listOf(0, &shape{kind: aText, empty: true}, "Commands to run instead of the image's own.")},
	{"ready", false, &shape{
		kind: anObject, desc: "When the service is ready for the step.", hint: asMap("{tcp: 8080}"),
		rules: []rule{{keys: []string{"tcp", "exec"}, exactlyOne: true}},
		fields: []field{
			{"tcp", false, &shape{kind: anInt, min: 1, max: math.MaxUint16, desc: "A port that must accept connections."}},
			{"exec", false, listOf(1, &shape{kind: aText, empty: true}, "A command that must succeed in the service.")},
		},
	}},
	{"timeout", false, &shape{kind: aDuration, examples: []string{"30s"}, desc: "How long to wait for the service to be ready."}},
}}

var (
	cpuShape       = shape{kind: aCPU, examples: []string{"500m", "2"}}
	memoryShape    = shape{kind: aMemory, examples: []string{"512Mi", "2Gi"}}
	resourcesShape = &shape{
		kind: anObject, desc: "What the container gets.", hint: asMap("{cpu: 2, memory: 1Gi}"),
		fields: []field{
			{"cpu", false, cpuShape.described("Cores that are reserved.")},
			{"memory", false, memoryShape.described("Memory that is reserved.")},
			{"limits", false, &shape{
				kind: anObject, desc: "What the container can use at most; by default what is reserved.",
				fields: []field{
					{"cpu", false, cpuShape.described("Cores at most.")},
					{"memory", false, memoryShape.described("Memory at most.")},
				},
			}},
		},
	}
)

func (s shape) described(desc string) *shape {
	s.desc = desc
	return &s
}
