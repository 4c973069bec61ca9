package pipeline

// The tables of the step types that are no container.

const (
	templateRegistry    = "${REG_URL}"
	templateGroup       = "${REPO_GROUP}"
	templateRepo        = "${REPO_NAME}"
	templateRegSecret   = "${REG_SECRET}"
	templateHelmSecret  = "${HELM_REG_SECRET}"
	templateChartRepo   = "${CHART_REPO}/${REPO_GROUP}"
	defaultRegSecret    = "gitlab-registry"
	defaultCluster      = "kubectl-config"
	defaultChartVersion = "latest"
	defaultAction       = "apply"
)

var dockerShape = &shape{
	kind: anObject, desc: "Build an image from a Dockerfile and push it.",
	fields: []field{
		{"file", true, repoPath("", "The path of the Dockerfile.")},
		{"tag", true, &shape{kind: aText, check: checkTags, desc: "The image's tags, with commas between them."}},
		{"context", false, &shape{kind: aText, empty: true, def: ".", check: checkRepoPath, desc: "The directory that the Dockerfile can copy from."}},
		{"destination", false, withDefault("", "The image's name; by default made of registry, group, the repository's name and name.")},
		{"registry", false, withDefault(templateRegistry, "The registry to push to.")},
		{"group", false, withDefault(templateGroup, "The group in the registry.")},
		{"name", false, withDefault("", "The last part of the image's name; by default the step's name.")},
		{"push", false, switchable("true", "Push the image after it is built.")},
		{"secret", false, withDefault(templateRegSecret, "The registry's credentials: a Docker config.json.")},
		{"append-cert", false, switchable("", `Add the installation's CA certificates to the image; by default if the group starts with "default".`)},
		{"args", false, listOf(0, &shape{kind: aText, check: checkPair, pattern: "^[^=]+="}, "Build arguments, each NAME=value.")},
		{"secretName", false, withDefault("", "A secret of the project, for secretArgs.")},
		{"secretArgs", false, listOf(0, &shape{kind: aText, check: checkPair, pattern: "^[^=]+="}, "Build arguments from the secret, each ARG=key.")},
	},
}

var helmShape = &shape{
	kind: anObject, desc: "Install or upgrade a Helm chart.",
	fields: []field{
		{"chart", true, describe("The chart's name.")},
		{"name", true, describe("The name of the release.")},
		{"namespace", true, describe("The namespace to install into.")},
		{"repo", false, withDefault(templateChartRepo, "The chart repository.")},
		{"set", false, &shape{kind: aMap, elem: &shape{kind: aScalar, empty: true, hint: `write the keys with dots between them, as in "image.tag: x"`}, desc: "Single values of the chart, with dotted keys."}},
		{"files", false, listOf(0, &shape{kind: aText, check: checkFileRef}, "Values files; variables in them are substituted.")},
		{"chartVersion", false, withDefault(defaultChartVersion, "The chart's version.")},
		{"helmVersion", false, withDefault("", "The tag of the Helm client's image.")},
		{"cluster", false, withDefault(defaultCluster, clusterDesc)},
		{"secret", false, withDefault(templateHelmSecret, "The chart repository's credentials.")},
	},
}

var helmPackageShape = &shape{
	kind: anObject, desc: "Package a Helm chart and push it.",
	fields: []field{
		{"version", false, withDefault("", "The chart's version; by default that of Chart.yaml.")},
		{"chart-path", false, &shape{kind: aText, empty: true, def: ".", check: checkRepoPath, desc: "The chart's directory."}},
		{"destination", false, withDefault(templateChartRepo, "The chart repository to push to.")},
		{"secret", false, withDefault(templateHelmSecret, "The chart repository's credentials.")},
	},
}

var kubectlShape = &shape{
	kind: anObject, desc: "Apply manifests to a Kubernetes cluster.",
	rules: []rule{{keys: []string{"file", "files"}}},
	fields: []field{
		{"file", false, &shape{kind: aText, check: checkFileRef, desc: "A manifest; variables in it are substituted."}},
		{"files", false, listOf(0, &shape{kind: aText, check: checkFileRef}, "Manifests; variables in them are substituted.")},
		{"namespace", false, withDefault("", "The namespace.")},
		{"action", false, withDefault(defaultAction, "What kubectl does with the manifests.")},
		{"force", false, switchable("false", "Pass --force to kubectl.")},
		{"cluster", false, withDefault(defaultCluster, clusterDesc)},
	},
}

var nugetShape = &shape{
	kind: anObject, desc: "Pack a project and push it to a NuGet repository.",
	fields: []field{
		{"version", true, describe("The package's version.")},
		{"project-path", true, repoPath("", "The project's path.")},
		{"repo", true, describe("The NuGet repository's URL.")},
		{"skip-duplicate", false, switchable("false", "Succeed if the version exists already.")},
		{"certificatesMountPath", false, withDefault("", certsDesc)},
	},
}
