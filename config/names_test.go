package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameWhatThereIs proves that the tests, options and metrics that documents name are there.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	tests, literals := namesInSources(t)
	options := strings.ReplaceAll(others, "\n", "")
	for _, program := range []string{"manager", "shim", "mediaserver", "nagi"} {
		options += helpOf(t, program)
	}
	test := regexp.MustCompile(`(?:\b([a-z]+)\.)?\b((?:Test|Fuzz)[A-Z]\w+)`)
	option, metric := regexp.MustCompile(`--[a-z][a-z-]+[a-z]`), regexp.MustCompile(`\bnagi_[a-z_]+[a-z]`)
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatal("there are no documents", err)
	}
	for _, path := range append(documents, "../README.md") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, named := range test.FindAllStringSubmatch(text, -1) {
			if folders := tests[named[2]]; len(folders) == 0 || named[1] != "" && !folders[named[1]] {
				t.Errorf("%s: there is no %s", path, named[0])
			}
		}
		for _, named := range option.FindAllString(text, -1) {
			if !strings.Contains(options, " "+named+" ") && !strings.Contains(options, " "+named+"[") {
				t.Errorf("%s: no program has the option %s", path, named)
			}
		}
		for _, named := range metric.FindAllString(text, -1) {
			if !composed(named, literals, 3) {
				t.Errorf("%s: there is no metric %s", path, named)
			}
		}
	}
}

// others are options of others' programs, and of those in hack, that documents name.
const others = ` --all --api-audiences --bump-revision --cases --clusterrole --data-dir --delete-emptydir-data
 --endpoints --fail --for --force-conflicts --from-file --hard --ignore-daemonsets --mark-compacted --raw --replicas
 --reports --retry --retry-connrefused --server-side --serviceaccount --wait `

// namesInSources are the tests, by name and the folders that have one, and all short strings outside of tests.
func namesInSources(t *testing.T) (tests map[string]map[string]bool, literals map[string]bool) {
	t.Helper()
	tests, literals = map[string]map[string]bool{}, map[string]bool{}
	function, literal := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`), regexp.MustCompile(`"([a-z_]{4,})"`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(path, "_test.go") {
			for _, found := range literal.FindAllStringSubmatch(string(content), -1) {
				literals[found[1]] = true
			}

			return nil
		}
		for _, found := range function.FindAllStringSubmatch(string(content), -1) {
			if tests[found[1]] == nil {
				tests[found[1]] = map[string]bool{}
			}
			tests[found[1]][filepath.Base(filepath.Dir(path))] = true
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	return tests, literals
}

// composed tells whether a metric's name is made of so many strings of the sources at most.
func composed(name string, literals map[string]bool, most int) bool {
	if literals[name] {
		return true
	}
	for i := 4; most > 1 && i < len(name)-3; i++ {
		if (literals[name[:i]] || name[:i] == "nagi_") && composed(name[i:], literals, most-1) {
			return true
		}
	}

	return false
}
