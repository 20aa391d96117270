//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Lines that a benchmark printed make its tables again.
func TestTargetsOfLines(t *testing.T) {
	line := func(r result) string {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}

		return string(data) + "\n"
	}
	input := "bench: some words\n" +
		line(result{Server: "nagi", Case: "50x20", CPUPerPacket: rounded(3), DelayP99: rounded(3500)}) +
		line(result{Server: "nagi", Case: "50x20", CPUPerPacket: rounded(5), DelayP99: rounded(6500)}) +
		line(result{Server: "floor-gso", Case: "50x20", CPUPerPacket: rounded(2)}) +
		line(result{Server: "nagi", Case: "memory-1-to-0", HeapAndStack: rounded(10)}) +
		line(result{Server: "nagi", Case: "memory-11-to-0", HeapAndStack: rounded(15)}) +
		line(result{Server: "nagi", Case: "memory-1-to-50", HeapAndStack: rounded(20)}) +
		line(result{Server: "nagi", Case: "memory-11-to-50", HeapAndStack: rounded(50)}) +
		line(result{Server: "nagi", Case: "workers-2-full", CoresUsed: 0.9, Loss: 5})
	results, err := readResults(strings.NewReader(input))
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	printTables(&printed, results)
	table := strings.Join(strings.Fields(printed.String()), " ")
	for _, want := range []string{
		"CPU per packet ÷ floor-gso, 50x20 2.00 ≤ 1.50 fail",
		"p99 delay µs, 50x20 5000 ≤ 5000 pass",
		"packets lost where server and clients have a core each 0 ≤ 0 pass",
		"kb_per_edge (heap and stacks) 51.2 ≤ 60.0 pass",
		"cores that 2 workers use under full load 0.90 ≥ 1.00 fail",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the tables lack %q:\n%s", want, &printed)
		}
	}
}
