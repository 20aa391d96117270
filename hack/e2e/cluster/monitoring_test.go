//go:build linux && cluster

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// podMonitor is what is understood of a PodMonitor.
type podMonitor struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Spec             struct {
		Selector            struct{ MatchLabels map[string]string }
		PodMetricsEndpoints []struct{ Port, Path string }
	}
}

var (
	alert = regexp.MustCompile("(?m)^\\| `(.+?)` \\| ?(\\S*) ?\\|")
	named = regexp.MustCompile(`nagi_\w+`)
)

// monitoring has a real Prometheus scrape what the component prometheus names, from a pod that the network policies let
// in, and evaluate what docs/operations.md says to alert on. The operator, which reads PodMonitors for Prometheus, is
// not there: scrapes says what ours do.
func (r *reader) monitoring(t *testing.T) {
	dir := t.TempDir()
	rules := r.alerts(t)
	write(t, filepath.Join(dir, "rules.yml"), map[string]any{
		"groups": []any{map[string]any{"name": "operations", "rules": rules}},
	})
	write(t, filepath.Join(dir, "prometheus.yml"), map[string]any{
		"global":         map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{"rules.yml"},
		"scrape_configs": r.scrapes(t),
	})
	kubectl(t, "create", "namespace", "prometheus")
	kubectl(t, "label", "namespace", "prometheus", "rtp.nagi.dev/metrics=scraper")
	pod := startIdle(t, "prometheus", "")
	startBeside(t, "nsenter", "--net="+networkOf(t, pod), "prometheus",
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"))
	p := server{"http://" + pod.Status.PodIP + ":9090/api/v1/"}
	await(t, "two managers, two shims and three media servers to be scraped", func() error { return p.targets(t, 2+2+3) })
	sampled := time.Now().Add(3 * time.Second) // Some rules ask for changes: each target has been scraped more than once.
	await(t, "every alert to be evaluated", func() error { return p.evaluated(t, len(rules), sampled) })
	metrics := named.FindAllString(fmt.Sprint(rules), -1)
	slices.Sort(metrics)
	for _, metric := range slices.Compact(metrics) {
		var found struct{ Result []any }
		if err := p.ask(t, "query?query="+url.QueryEscape(metric), &found); err != nil || len(found.Result) == 0 {
			t.Errorf("%s, which docs/operations.md names, is nowhere: %v", metric, err)
		}
	}
}

// alerts are the rules that docs/operations.md has in its table.
func (r *reader) alerts(t *testing.T) (rules []map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| alert when | for | because |\n| --- | --- | --- |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range alert.FindAllStringSubmatch(table, -1) {
		rule := map[string]string{"alert": fmt.Sprint("Row", len(rules)+1), "expr": row[1]}
		if row[2] != "" {
			rule["for"] = row[2]
		}
		rules = append(rules, rule)
	}
	if rows := len(strings.Split(table, "\n")); len(rules) != rows || rows < 2 {
		t.Fatalf("docs/operations.md has %d rows about alerts, of which %d are understood", rows, len(rules))
	}

	return rules
}

// scrapes are the scrape configurations of the component's PodMonitors: pods of one namespace with the labels, at the
// port of that name, with the operator's labels for namespace and pod.
func (r *reader) scrapes(t *testing.T) (all []any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "config/components/prometheus/pod_monitors.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var monitor podMonitor
		if err := yaml.UnmarshalStrict([]byte(document), &monitor); err != nil {
			t.Fatal(err)
		}
		for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
			relabel := []map[string]any{{
				"source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": endpoint.Port, "action": "keep",
			}}
			for label, value := range monitor.Spec.Selector.MatchLabels {
				meta := "__meta_kubernetes_pod_label_" + regexp.MustCompile(`\W`).ReplaceAllString(label, "_")
				relabel = append(relabel, map[string]any{"source_labels": []string{meta}, "regex": value, "action": "keep"})
			}
			for target, source := range map[string]string{"namespace": "namespace", "pod": "pod_name"} {
				relabel = append(relabel, map[string]any{
					"source_labels": []string{"__meta_kubernetes_" + source}, "target_label": target,
				})
			}
			all = append(all, map[string]any{
				"job_name": monitor.Metadata.Namespace, "metrics_path": endpoint.Path, "relabel_configs": relabel,
				"kubernetes_sd_configs": []any{map[string]any{
					"role": "pod", "kubeconfig_file": os.Getenv("KUBECONFIG"),
					"namespaces": map[string]any{"names": []string{monitor.Metadata.Namespace}},
				}},
			})
		}
	}

	return all
}

// write writes YAML.
func write(t *testing.T, path string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// server is a Prometheus, by the URL of its API.
type server struct{ url string }

// ask puts a question, and decodes the data of the answer.
func (s server) ask(t *testing.T, question string, data any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience/10)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+question, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%s: %s %s %w", question, answer.Status, answer.Error, err)
	}

	return nil
}

// targets tells what is wrong with the targets, of which there are to be so many.
func (s server) targets(t *testing.T, want int) error {
	t.Helper()
	var found struct {
		ActiveTargets []struct{ ScrapeURL, Health, LastError string }
	}
	if err := s.ask(t, "targets?state=active", &found); err != nil {
		return err
	}
	up := 0
	var problems []error
	for _, target := range found.ActiveTargets {
		if target.Health == "up" {
			up++
		} else {
			problems = append(problems, fmt.Errorf("%s is %s: %s", target.ScrapeURL, target.Health, target.LastError))
		}
	}
	if up != want || len(problems) > 0 {
		return errors.Join(append(problems, fmt.Errorf("%d targets are up, want %d and no others", up, want))...)
	}

	return nil
}

// evaluated tells which of so many rules has not been evaluated since then, or holds.
func (s server) evaluated(t *testing.T, want int, since time.Time) error {
	t.Helper()
	var found struct {
		Groups []struct {
			Rules []struct {
				Query, Health, LastError, State string
				LastEvaluation                  time.Time
			}
		}
	}
	if err := s.ask(t, "rules?type=alert", &found); err != nil {
		return err
	}
	rules := 0
	var problems []error
	for _, group := range found.Groups {
		for _, rule := range group.Rules {
			rules++
			if rule.Health != "ok" || rule.State != "inactive" || rule.LastEvaluation.Before(since) {
				problems = append(problems, fmt.Errorf("%s is %s, %s at %s: %s", rule.Query, rule.Health, rule.State,
					rule.LastEvaluation.Format(time.TimeOnly), rule.LastError))
			}
		}
	}
	if rules != want {
		problems = append(problems, fmt.Errorf("there are %d rules, want %d", rules, want))
	}

	return errors.Join(problems...)
}
