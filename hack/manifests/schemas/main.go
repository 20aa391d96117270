// Command schemas writes what kubeconform needs to judge manifests without a network:
// the JSON schema of every kind that the pinned kube-apiserver knows, as it says
// itself, of RtpStreamPause, and of the CRDs in files.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
	"github.com/nagi-rtc/nagi/config/crd"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: schemas DIRECTORY [CRD.yaml ...]")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, definitions []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the schemas: %w", err)
	}
	document, err := ask(ctx)
	if err != nil {
		return err
	}
	if err := writeKinds(dir, document); err != nil {
		return err
	}
	texts := [][]byte{crd.RtpStreamPauses}
	for _, path := range definitions {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a CRD: %w", err)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		if err := writeCustom(dir, text); err != nil {
			return err
		}
	}

	return nil
}

// ask starts a kube-apiserver for its OpenAPI document.
func ask(ctx context.Context) (document map[string]any, err error) {
	plane, err := controlplane.Start(func(e *envtest.Environment) { e.CRDs = nil })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	clients, err := kubernetes.NewForConfig(plane.Config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	text, err := clients.RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("ask for the OpenAPI document: %w", err)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("decode the OpenAPI document: %w", err)
	}

	return document, nil
}

// writeKinds writes the schema of each kind, with all that it refers to.
func writeKinds(dir string, document map[string]any) error {
	definitions, found := document["definitions"].(map[string]any)
	if !found {
		return errors.New("the OpenAPI document has no definitions")
	}
	for name, definition := range definitions {
		kinds, _ := definition.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			kind, _ := kind.(map[string]any)
			schema := map[string]any{"$ref": "#/definitions/" + name, "definitions": closure(definitions, name)}
			if err := write(dir, fmt.Sprint(kind["group"]), fmt.Sprint(kind["version"]), fmt.Sprint(kind["kind"]),
				schema); err != nil {
				return err
			}
		}
	}

	return nil
}

// closure is a definition and all that it refers to, closed against unknown fields.
func closure(definitions map[string]any, name string) map[string]any {
	reached := map[string]any{}
	for waiting := []string{name}; len(waiting) > 0; {
		name, waiting = waiting[0], waiting[1:]
		if _, seen := reached[name]; seen {
			continue
		}
		reached[name] = closed(definitions[name])
		waiting = append(waiting, references(definitions[name])...)
	}

	return reached
}

func references(schema any) []string {
	var names []string
	switch schema := schema.(type) {
	case map[string]any:
		if reference, is := schema["$ref"].(string); is {
			names = append(names, strings.TrimPrefix(reference, "#/definitions/"))
		}
		for _, value := range schema {
			names = append(names, references(value)...)
		}
	case []any:
		for _, value := range schema {
			names = append(names, references(value)...)
		}
	}

	return names
}

// closed is a schema that takes no field that it does not name, and that says in JSON
// Schema's words what Kubernetes says in formats of its own.
func closed(schema any) any {
	switch schema := schema.(type) {
	case map[string]any:
		if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
			return map[string]any{"type": []string{"integer", "string"}}
		}
		copied := map[string]any{}
		for key, value := range schema {
			copied[key] = closed(value)
		}
		_, names := schema["properties"].(map[string]any)
		_, says := schema["additionalProperties"]
		if names && schema["type"] == "object" && !says && schema["x-kubernetes-preserve-unknown-fields"] != true {
			copied["additionalProperties"] = false
		}

		return copied
	case []any:
		copied := make([]any, len(schema))
		for i, value := range schema {
			copied[i] = closed(value)
		}

		return copied
	}

	return schema
}

// writeCustom writes the schemas of a CRD's versions.
func writeCustom(dir string, text []byte) error {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &definition); err != nil {
		return fmt.Errorf("decode a CRD: %w", err)
	}
	for _, version := range definition.Spec.Versions {
		encoded, err := json.Marshal(version.Schema.OpenAPIV3Schema)
		if err != nil {
			return fmt.Errorf("encode the schema of %s: %w", definition.Name, err)
		}
		var schema any
		if err := json.Unmarshal(encoded, &schema); err != nil {
			return fmt.Errorf("decode the schema of %s: %w", definition.Name, err)
		}
		if err := write(dir, definition.Spec.Group, version.Name, definition.Spec.Names.Kind, closed(schema)); err != nil {
			return err
		}
	}

	return nil
}

// write writes a schema under the name by which kubeconform is told to look for it.
func write(dir, group, version, kind string, schema any) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return fmt.Errorf("encode the schema of %s: %w", kind, err)
	}
	if group == "" {
		group = version // What kubeconform takes for the group of a core kind.
	}
	name := fmt.Sprintf("%s_%s_%s.json", group, version, strings.ToLower(kind))
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		return fmt.Errorf("write the schema of %s: %w", kind, err)
	}

	return nil
}
