package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed coredns.yaml
var coreDNS string

// nameServer installs CoreDNS, and returns what it is called.
func (p *programs) nameServer(ctx context.Context) (string, error) {
	apply := p.kubectl(ctx, "apply", "--server-side", "--filename=-")
	apply.Stdin = strings.NewReader(strings.ReplaceAll(coreDNS, "NAME_SERVER_ADDRESS", nameServerAddress))
	if output, err := apply.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install CoreDNS: %w\n%s", err, output)
	}

	return "deployment/coredns", nil
}
