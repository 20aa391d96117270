package config

import (
	"os"
	"strings"
	"testing"
)

// What docs/install.md has its reader write is what the tests apply.
func TestDocumentedOverlays(t *testing.T) {
	document, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"testdata/two-tenants/kustomization.yaml", "testdata/two-tenants/lessons/kustomization.yaml",
	} {
		applied, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// An overlay of the reader's is one folder nearer.
		nearer := strings.NewReplacer("- ../../default", "- ../default", "- ../../../tenant", "- ../../tenant")
		text := nearer.Replace(string(applied))
		if !strings.Contains(string(document), "```yaml\n"+text+"```\n") {
			t.Errorf("docs/install.md does not have %s", path)
		}
	}
	components, err := os.ReadDir("components")
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range components {
		if !strings.Contains(string(document), "`"+component.Name()+"`") {
			t.Errorf("docs/install.md does not name the component %s", component.Name())
		}
	}
}
