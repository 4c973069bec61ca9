package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing/fstest"

	"github.com/wharfci/wharf/pipeline"
)

func ExampleParse() {
	_, err := pipeline.Parse(".wharf-ci.yml", []byte(`
build:
  web:
    container:
      imge: alpine:3
      cmds: [echo hello]
`))
	fmt.Println(err)

	var first *pipeline.Error
	if errors.As(err, &first) {
		fmt.Println("the first is in line", first.Line)
	}
	// Output:
	// .wharf-ci.yml:5:7: a container step has no key "imge"
	//         imge: alpine:3
	//         ^
	//   hint: did you mean "image"?
	// the first is in line 5
}

func ExampleDefinition_Plan() {
	d, err := pipeline.Parse(".wharf-ci.yml", []byte(`
inputs:
  - {name: greeting, type: string, default: hello}
environments:
  stage: {namespace: stage}
test:
  unit:
    container:
      image: golang:${go}
      cmds: ["echo ${greeting} from ${namespace}", go test ./...]
      matrix: {go: ["1.25", "1.26"]}
deploy:
  environments: [prod-but-misspelt]
  apply:
    kubectl: {file: k8s.yml}
`))
	fmt.Println(err)

	d, err = pipeline.Parse(".wharf-ci.yml", []byte(`
inputs:
  - {name: greeting, type: string, default: hello}
environments:
  stage: {namespace: stage}
  prod: {namespace: prod}
test:
  unit:
    container:
      image: golang:${go}
      cmds: ["echo ${greeting} from ${namespace}", go test ./...]
      matrix: {go: ["1.25", "1.26"]}
deploy:
  environments: [prod]
  apply:
    kubectl: {file: k8s.yml}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := d.Plan(pipeline.Options{
		Environment: "stage",
		Inputs:      map[string]string{"greeting": "good morning"},
		Files:       fstest.MapFS{"k8s.yml": {Data: []byte("namespace: ${namespace}\n")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, stage := range plan.Stages {
		fmt.Println(strings.TrimSpace(stage.Name + " " + stage.Skip))
		for _, step := range stage.Steps {
			fmt.Printf("  %s: %s\n", step.ID, step.Name)
			if step.Container != nil {
				fmt.Printf("    %s %q\n", step.Container.Image, step.Container.Args())
			}
		}
	}
	// Output:
	// .wharf-ci.yml:13:18: the environment "prod-but-misspelt" is not defined
	//     environments: [prod-but-misspelt]
	//                    ^
	// test
	//   test--unit-1-25--93056ae3e8: unit (1.25)
	//     golang:1.25 ["/bin/sh" "-c" "echo good morning from stage\ngo test ./..."]
	//   test--unit-1-26--679fd9ec8f: unit (1.26)
	//     golang:1.26 ["/bin/sh" "-c" "echo good morning from stage\ngo test ./..."]
	// deploy the build's environment is "stage", and the stage runs only in "prod"
	//   deploy--apply: apply
}

func ExampleDefinition_Variables() {
	d, err := pipeline.Parse(".wharf-ci.yml", []byte(`
environments:
  prod: {REG_URL: "${REG_URL}/prod"}
build:
  web:
    docker: {file: Dockerfile, tag: latest}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	vars, err := d.Variables(pipeline.Options{
		Environment: "prod",
		Layers: []pipeline.Layer{
			pipeline.ProcessLayer([]string{"WHARF_VAR_REG_URL=registry.example.com"}),
			pipeline.GitLayer(map[string]string{"REPO_NAME": "shop"}),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range vars {
		fmt.Println(v.Name, "=", v.Value, "from", v.Source.Origin)
		for _, s := range v.Shadows {
			fmt.Println("  hides", s.Value, "from", s.Source.Detail)
		}
	}
	// Output:
	// REG_URL = registry.example.com/prod from environment
	//   hides registry.example.com from WHARF_VAR_REG_URL
	// REPO_NAME = shop from git
}

func ExampleDefinition_Expand() {
	text, warnings, err := new(pipeline.Definition).Expand(pipeline.Options{
		Vars: map[string]string{"namespace": "stage"},
	}, "k8s.yml", "namespace: ${namespace}\nimage: ${imge}\n")
	fmt.Print(text)
	fmt.Println(warnings, err)
	// Output:
	// namespace: stage
	// image: ${imge}
	// k8s.yml:2:8: the variable "imge" is not defined
	//   image: ${imge}
	//          ^ <nil>
}

func ExampleOutline() {
	names := pipeline.Outline([]byte("environments:\n  stage:\n  prod:\nbuild:\n  web: {conta"))
	fmt.Println(strings.Join(names.Environments, " "), names.Stages)
	// Output: stage prod [build]
}
